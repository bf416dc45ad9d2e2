// Package dial reaches an SSH server: by TCP, through a SOCKS5 or HTTP proxy, or by a
// proxy_command. It says why that failed, and what answers in the place of an SSH
// server. It speaks no SSH, and tries each way once. The packages that make SSH
// connections import it.
package dial

import (
	"context"
	"fmt"
	"net"

	"go.uber.org/zap"
)

// Dialer says how a server is reached. It may not change while it dials.
type Dialer struct {
	// Address is the server's "host:port". The host is resolved anew each time.
	Address string

	// User is the login name on the server, for %r of Command.
	User string

	// Proxy is what the server is reached through, or nil.
	Proxy *Proxy

	// Command is a command, with its arguments, whose standard input and output are
	// the connection to the server; no shell reads it. In each argument %h, %p and %r
	// stand for the server's host and port and User, %% for a %. If it is empty,
	// there is none.
	Command []string

	// Shell says that Command is one string, which the user's shell executes as ssh
	// makes it (ProxyCommand in ssh_config(5)).
	Shell bool

	// Fdpass says that Command passes a connected socket over its standard output
	// and ends, instead of being the connection itself (ProxyUseFdpass).
	Fdpass bool

	// BindAddress is the local IP address to connect from, or "".
	BindAddress string

	// AddressFamily is "any" (or ""), "inet" or "inet6".
	AddressFamily string

	// DialContext connects. If nil, a net.Dialer does.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Secret resolves Proxy's user and password. Its errors name them with what.
	Secret func(what, raw string) (string, error)
}

// Dial connects to the server. A command's words go to log.
func (d *Dialer) Dial(ctx context.Context, log *zap.Logger) (net.Conn, error) {
	switch {
	case len(d.Command) > 0:
		return d.dialCommand(ctx, log)
	case d.Proxy != nil:
		return d.dialProxy(ctx)
	default:
		return d.dialTCP(ctx, d.Address)
	}
}

// dialTCP connects to address, the server's or its proxy's, trying all
// addresses of its name, which is resolved anew each time.
func (d *Dialer) dialTCP(ctx context.Context, address string) (net.Conn, error) {
	network := "tcp"
	switch d.AddressFamily {
	case "inet":
		network = "tcp4"
	case "inet6":
		network = "tcp6"
	}
	if d.DialContext != nil {
		return d.DialContext(ctx, network, address)
	}
	var nd net.Dialer
	if d.BindAddress != "" {
		addr, err := net.ResolveTCPAddr(network, net.JoinHostPort(d.BindAddress, "0"))
		if err != nil {
			return nil, fmt.Errorf("bind_address %q: %w", d.BindAddress, err)
		}
		nd.LocalAddr = addr
	}
	return nd.DialContext(ctx, network, address)
}
