//go:build !linux

package tunnel

import "net"

// tuneSocket does nothing: the options that it sets are Linux's.
func tuneSocket(net.Conn) (acknowledge func()) { return func() {} }
