//go:build !unix

package dial

import (
	"errors"
	"net"
	"os"
	"os/exec"
)

// CommandsSupported reports whether this system can run a proxy_command.
const CommandsSupported = false

func commandSockets() (net.Conn, *os.File, error) { return nil, nil, errors.ErrUnsupported }
func ownGroup(*exec.Cmd)                          {}
func endGroup(int) error                          { return errors.ErrUnsupported }
func killGroup(int)                               {}
