package sshtunnel

// dialer.go contains what the transport and the listener wrapper need of a
// tunnel.

import (
	"context"
	"net"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// channel is a connection through a tunnel.
type channel interface {
	net.Conn
	CloseWrite() error
}

// dialer opens channels through a tunnel, to the targets that are permitted.
// See tunnel.Handle, whose methods these are.
type dialer interface {
	permitter
	Dial(ctx context.Context, target tunnel.Target) (channel, error)
	Generation() uint64
	Moved(gen uint64) <-chan struct{}
}

// handleDialer is a tunnel's handle as a dialer.
type handleDialer struct {
	*tunnel.Handle
	permission
}

// Dial implements dialer. Nothing is opened, and no connection waited for, for
// a target that is not permitted.
func (d handleDialer) Dial(ctx context.Context, target tunnel.Target) (channel, error) {
	target, err := d.permit(target)
	if err != nil {
		return nil, err
	}
	conn, err := d.Handle.Dial(ctx, target)
	if err != nil {
		return nil, err // and no nil *tunnel.Conn in the interface
	}
	return conn, nil
}

// dialFunc is a forwarder's dial function.
type dialFunc = func(ctx context.Context, client net.Conn) (net.Conn, error)

// dialFor returns a forwarder's dial function: a channel to target for each
// client, who is its originator.
func dialFor(tun dialer, target tunnel.Target) dialFunc {
	target.Class = tunnel.Stream
	return func(ctx context.Context, client net.Conn) (net.Conn, error) {
		to := target
		to.Originator = forward.AddrPort(client.RemoteAddr())
		return tun.Dial(ctx, to)
	}
}

// lookupDialer returns the named tunnel of the configuration that ctx belongs
// to. See lookupTunnel.
func lookupDialer(ctx caddy.Context, name string) (dialer, error) {
	t, err := lookupTunnel(ctx, name)
	if err != nil {
		return nil, err
	}
	return t.dialer(), nil
}

// Interface guards
var (
	_ dialer  = handleDialer{}
	_ channel = (*tunnel.Conn)(nil)
)
