package sshtunnel

// forward_remote.go contains remote forwards, as of ssh -R.

import (
	"context"
	"fmt"
	"net"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// openRemote opens a remote forward: listening on the bastion, dialing the
// target from here. It does not wait for the bastion.
func (f *Forward) openRemote(h *tunnel.Handle, logger *zap.Logger) (openForward, error) {
	ln, err := h.Listen(f.listen.network, f.listen.address)
	if err != nil {
		return openForward{}, fmt.Errorf("remote_forward: %w", err)
	}
	f.ln = ln
	fwd := f.forwarder(dialDirectly(f.target.Network, f.target.Address), logger)
	return openForward{
		serve: func() { go serveRemote(fwd, ln) },
		stop:  func() { _ = ln.Close() },
	}, nil
}

// serveRemote accepts connections. It returns when the listener is closed.
func serveRemote(fwd *forward.Forwarder, ln net.Listener) {
	_ = fwd.Serve(ln) // it says that the listener is closed
}

// dialDirectly returns a forwarder's dial function: to a target that this
// machine reaches.
func dialDirectly(network, address string) dialFunc {
	return func(ctx context.Context, _ net.Conn) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}
