package sshtunnel

// listener.go contains the listener wrapper, which hands the connections of a
// Caddy listener to a target behind the bastion.

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func init() {
	caddy.RegisterModule(ListenerWrapper{})
}

// ListenerWrapper forwards every connection that a listener accepts to a target
// behind an SSH bastion, as `ssh -L` does. None is left for the HTTP server.
//
// Before the `tls` wrapper it forwards the raw bytes, so that TLS passes
// through; after `tls`, what was decrypted. HTTP/3 does not pass through
// listener wrappers.
//
// Connections live on when the configuration is reloaded. When the process
// exits they have the grace period of the `http` app to end.
type ListenerWrapper struct {
	// The name of the tunnel, as configured in the `ssh_tunnel` app.
	// Placeholders are not allowed. Required.
	TunnelName string `json:"tunnel"`

	// Where connections go: `host:port`, whose name is resolved by the bastion,
	// or `unix//path` for a socket on the bastion. Placeholders are replaced
	// when the configuration is loaded. Required.
	Target string `json:"target"`

	tunnel dialer
	target tunnel.Target
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (ListenerWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners.ssh_tunnel",
		New: func() caddy.Module { return new(ListenerWrapper) },
	}
}

// Provision looks the tunnel up. It dials nothing.
func (w *ListenerWrapper) Provision(ctx caddy.Context) error {
	if err := checkStaticName(w.TunnelName); err != nil {
		return err
	}
	tun, err := lookupDialer(ctx, w.TunnelName)
	if err != nil {
		return err
	}
	return w.provision(ctx.Logger(), tun)
}

func (w *ListenerWrapper) provision(logger *zap.Logger, tun dialer) error {
	target, err := resolveTarget(w.Target)
	if err != nil {
		return err
	}
	target.Class = tunnel.Stream
	w.tunnel = tun
	w.target = target
	w.logger = logger.With(zap.String("tunnel", w.TunnelName), zap.String("target", target.Address))
	return nil
}

// WrapListener implements caddy.ListenerWrapper.
func (w *ListenerWrapper) WrapListener(ln net.Listener) net.Listener {
	return &forwardingListener{Listener: ln, wrapper: w}
}

// forwardingListener forwards what it accepts.
type forwardingListener struct {
	net.Listener
	wrapper *ListenerWrapper
}

// Accept forwards connections for as long as there are any; it never returns
// one. It returns the listener's errors: the HTTP server calls Accept again
// after a temporary one, such as too many open files, at growing intervals.
func (l *forwardingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		go l.wrapper.forward(conn)
	}
}

const (
	// handshakeTimeout bounds a client's TLS handshake.
	handshakeTimeout = 10 * time.Second

	// forwardDialTimeout bounds a dial for a raw connection. It is longer than
	// that of a request: nothing retries a raw connection, and after a reload
	// the tunnel may need a whole connect first.
	forwardDialTimeout = 10 * time.Second
)

// errForwardDial is the cause of a dial that took too long.
var errForwardDial = fmt.Errorf("no answer within %s", forwardDialTimeout)

// forward connects a client to the target. It returns when both directions
// have ended, when either connection breaks or is closed at the process's
// exit, or when the target cannot be reached. A reload does not end it.
func (w *ListenerWrapper) forward(client net.Conn) {
	defer trackConn(client)()

	// After the tls wrapper the handshake is still to be done. Nothing is opened
	// for a client that fails it.
	if conn, ok := client.(interface{ HandshakeContext(context.Context) error }); ok {
		ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
		err := conn.HandshakeContext(ctx)
		cancel()
		if err != nil {
			w.logger.Debug("TLS handshake failed", zap.Stringer("remote", client.RemoteAddr()), zap.Error(err))
			_ = client.Close()
			return
		}
	}

	remote := client.RemoteAddr()
	logger := w.logger.With(zap.Stringer("remote", remote))
	target := w.target
	if addr, ok := remote.(*net.TCPAddr); ok {
		target.Originator = addr.AddrPort()
	}
	// Not the context of the configuration, which a reload cancels.
	ctx, cancel := context.WithTimeoutCause(context.Background(), forwardDialTimeout, errForwardDial)
	channel, err := w.tunnel.Dial(ctx, target)
	cancel()
	if err != nil {
		logger.Error("dialing target failed", zap.Error(err))
		reset(client)
		return
	}

	logger.Debug("connection opened")
	start := time.Now()
	read, written, err := tunnel.Pipe(layeredConn{client}, channel)
	logger.Debug("connection closed",
		zap.Int64("read", read),
		zap.Int64("written", written),
		zap.Duration("duration", time.Since(start)),
		zap.Error(err))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)
)
