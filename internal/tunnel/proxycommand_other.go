//go:build !unix

package tunnel

import (
	"errors"
	"net"
	"os"
	"os/exec"
)

// commandsSupported tells whether this system can run a proxy_command.
const commandsSupported = false

func commandSockets() (net.Conn, *os.File, error) { return nil, nil, errors.ErrUnsupported }
func ownGroup(*exec.Cmd)                          {}
func endGroup(int)                                {}
func killGroup(int)                               {}
