//go:build !linux

package wire

import (
	"net"
	"time"
)

// socketOptions sets nothing: the options are Linux's. See socket_linux.go.
type socketOptions struct{}

func socketOptionsOf(net.Conn) socketOptions { return socketOptions{} }

func (socketOptions) acknowledge() {}

func (socketOptions) limitUnsent(int) {}

func (socketOptions) setUserTimeout(time.Duration) {}
