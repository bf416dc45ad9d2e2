//go:build !unix

package dial

import (
	"errors"
	"net"
	"os"
)

func commandSockets() (net.Conn, *os.File, error) { return nil, nil, errors.ErrUnsupported }
func receiveSocket(net.Conn) (net.Conn, error)    { return nil, errors.ErrUnsupported }
