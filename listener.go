package sshtunnel

import (
	"errors"
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/clienthello"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/rawconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func init() {
	caddy.RegisterModule(ListenerWrapper{})
}

// ListenerWrapper forwards the connections that a listener accepts to a target
// behind an SSH bastion, as `ssh -L` does.
//
// With `match`, it forwards only matching connections. Without `match`, it
// forwards all of them, and the HTTP server gets none. Before the `tls` wrapper,
// it forwards the raw bytes, so TLS passes through. After `tls`, it forwards the
// decrypted bytes. HTTP/3 does not pass through listener wrappers.
//
// A reload keeps the connections. When the process exits, they may continue for
// the `grace_period` of the `ssh_tunnel` app.
type ListenerWrapper struct {
	// The name of the tunnel, as configured in the `ssh_tunnel` app.
	// Placeholders are not allowed. Required.
	TunnelName string `json:"tunnel"`

	// The target of the connections: `host:port`, which the bastion resolves, or
	// `unix//path` for a socket on the bastion. Placeholders are replaced when the
	// configuration is loaded. Required.
	Target string `json:"target"`

	// Which connections to forward: those whose TLS ClientHello matches all of
	// these, as in a TLS connection policy. Other connections pass on unchanged.
	// So do connections that are not TLS, and those without a whole ClientHello
	// within 5 seconds and 16 KiB. After the `tls` wrapper the matchers see the
	// state of the connection. Default: every connection.
	MatchersRaw caddy.ModuleMap `json:"match,omitempty" caddy:"namespace=tls.handshake_match"`

	// How to forward the connections. `max_connections` counts all connections of a
	// listener, including those from before a reload.
	config.ForwardOptions

	owner    any // the configuration that the wrapper belongs to
	tunnel   dialer.Dialer
	target   tunnel.Target
	matchers clienthello.Matchers
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
	tun, err := dialer.Lookup(ctx, w.TunnelName)
	if err != nil {
		return err
	}
	if w.owner, err = dialer.LookupApp(ctx, w.TunnelName); err != nil {
		return err
	}
	if w.matchers, err = clienthello.LoadMatchers(ctx, w, "MatchersRaw", w.MatchersRaw); err != nil {
		return fmt.Errorf("match: %w", err)
	}
	return w.provision(ctx.Logger(), tun)
}

func (w *ListenerWrapper) provision(logger *zap.Logger, tun dialer.Dialer) (err error) {
	if err := w.Check(); err != nil {
		return err
	}
	if w.target, err = rawconn.Target(w.Target, tun); err != nil {
		return err
	}
	w.tunnel = tun
	w.logger = logger.With(zap.String("tunnel", w.TunnelName))
	return nil
}

// WrapListener implements caddy.ListenerWrapper.
func (w *ListenerWrapper) WrapListener(ln net.Listener) net.Listener {
	addr := ln.Addr()
	count, release := rawconn.CountFor(rawconn.Key{Network: addr.Network(), Address: addr.String(), Tunnel: w.TunnelName, Target: w.target})
	forwarder := &forward.Forwarder{
		Dial:   dialer.For(w.tunnel, w.target),
		Target: w.target.Address,
		Count:  count,
		Logger: w.logger,
		Track:  rawconn.Open.Track,
	}
	w.Apply(forwarder)
	counted := &countedListener{ln, release}
	if len(w.matchers) > 0 {
		return clienthello.NewListener(counted, w.matchers, w.owner, forwarder.Forward, w.logger)
	}
	place := clienthello.Register(ln.Addr(), w.owner, func(conn net.Conn) bool {
		go forwarder.Forward(conn)
		return true
	})
	return &forwardingListener{counted, forwarder, place}
}

// countedListener gives the count of its connections back when it is closed.
type countedListener struct {
	net.Listener
	release func()
}

// Close closes the listener and leaves its connections alone.
func (l *countedListener) Close() error {
	l.release()
	return l.Listener.Close()
}

// forwardingListener forwards what it accepts.
type forwardingListener struct {
	net.Listener
	forwarder *forward.Forwarder
	place     *clienthello.Place
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
	l.place.Unregister()
	return l.Listener.Close()
}

// UnmarshalCaddyfile sets up the listener wrapper from Caddyfile tokens. Syntax:
//
//	ssh_tunnel <tunnel> <target> {
//		match             <matcher> <arguments...>
//		proxy_protocol    v1|v2
//		idle_timeout      <duration>
//		max_connections   <n>
//	}
//
// match takes what a TLS connection policy does, in a block if there are
// several matchers.
func (w *ListenerWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	w.TunnelName, w.Target, err = rawconn.UnmarshalCaddyfile(d, "listener wrapper ssh_tunnel", func(name string) (err error) {
		if name != "match" {
			return w.UnmarshalOption(d, "match")
		}
		w.MatchersRaw, err = caddytls.ParseCaddyfileNestedMatcherSet(d)
		if err == nil && len(w.MatchersRaw) == 0 {
			return errors.New("usage: match <matcher> <arguments...>, as in match sni git.example.com")
		}
		return err
	})
	return err
}

// Interface guards
var (
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)
)
