//go:build !unix

package listen

import (
	"errors"
	"net"
)

// listenInherited fails: no socket can be inherited.
func listenInherited(string) (net.Listener, error) {
	return nil, errors.New("this operating system passes no sockets to programs; write [host:]port or unix//path")
}
