package sshtunnel

// listener.go contains the listener wrapper, which hands the connections of a
// Caddy listener to a target behind the bastion.

import (
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func init() {
	caddy.RegisterModule(ListenerWrapper{})
}

// ListenerWrapper forwards the connections that a listener accepts to a target
// behind an SSH bastion, as `ssh -L` does: all of them, so that none is left
// for the HTTP server, or those that match.
//
// Before the `tls` wrapper it forwards the raw bytes, so that TLS passes
// through; after `tls`, what was decrypted. HTTP/3 does not pass through
// listener wrappers.
//
// Connections live on when the configuration is reloaded. When the process
// exits they have the `grace_period` of the `ssh_tunnel` app to end.
type ListenerWrapper struct {
	// The name of the tunnel, as configured in the `ssh_tunnel` app.
	// Placeholders are not allowed. Required.
	TunnelName string `json:"tunnel"`

	// Where connections go: `host:port`, whose name is resolved by the bastion,
	// or `unix//path` for a socket on the bastion. Placeholders are replaced
	// when the configuration is loaded. Required.
	Target string `json:"target"`

	// Which connections to forward: those whose TLS ClientHello all of these
	// match, as in a TLS connection policy. The others pass on unchanged, as
	// does what is not TLS, or sends no whole ClientHello within 5 seconds and
	// 16 KiB. After the `tls` wrapper the connection's state is what is matched.
	// Default: every connection is forwarded.
	MatchersRaw caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=tls.handshake_match"`

	// What holds for those that are forwarded. The connections of a listener
	// count as one lot, those from before a reload included.
	ForwardOptions

	config   *App // that the wrapper belongs to
	tunnel   dialer
	target   tunnel.Target
	matchers helloMatchers
	logger   *zap.Logger
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
	app, err := ctx.AppIfConfigured("ssh_tunnel")
	if err != nil {
		return err
	}
	w.config = app.(*App)
	if w.matchers, err = loadHelloMatchers(ctx, w); err != nil {
		return fmt.Errorf("match: %w", err)
	}
	return w.provision(ctx.Logger(), tun)
}

func (w *ListenerWrapper) provision(logger *zap.Logger, tun dialer) (err error) {
	if w.target, err = resolveTarget(w.Target); err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return err
	}
	if err := checkPermitted(tun, w.target); err != nil {
		return err
	}
	w.tunnel = tun
	w.logger = logger.With(zap.String("tunnel", w.TunnelName))
	return nil
}

// WrapListener implements caddy.ListenerWrapper.
func (w *ListenerWrapper) WrapListener(ln net.Listener) net.Listener {
	count, release := countFor(ln.Addr(), w.TunnelName, w.target)
	forwarder := &forward.Forwarder{
		Dial:   dialFor(w.tunnel, w.target),
		Target: w.target.Address,
		Count:  count,
		Logger: w.logger,
		Track:  trackConn,
	}
	w.apply(forwarder)
	forwarding := &forwardingListener{Listener: ln, forwarder: forwarder, release: release}
	if len(w.matchers) > 0 {
		return newMatchingListener(forwarding, w)
	}
	forwarding.open = openListeners.open(ln.Addr(), w.config, func(conn net.Conn) bool {
		go forwarder.Forward(conn)
		return true
	})
	return forwarding
}

// forwardingListener forwards what it accepts.
type forwardingListener struct {
	net.Listener
	forwarder *forward.Forwarder
	release   func() // of the forwarder's count
	open      *openListener
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
		go l.forwarder.Forward(conn)
	}
}

// Close closes the listener and leaves its connections alone.
func (l *forwardingListener) Close() error {
	openListeners.close(l.open)
	l.release()
	return l.Listener.Close()
}

// Interface guards
var (
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)
)
