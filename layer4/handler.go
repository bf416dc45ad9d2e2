// Package layer4 lets routes of caddy-l4 lead through the SSH tunnels of caddy-ssh-tunnel:
// one port can send SSH, PostgreSQL, HTTP and TLS by name to different hosts behind a
// bastion.
//
//	{
//		ssh_tunnel {
//			tunnel prod deploy@bastion.example.com
//		}
//		layer4 {
//			:443 {
//				@postgres postgres
//				route @postgres {
//					ssh_tunnel prod db.internal:5432
//				}
//			}
//		}
//	}
//
// It is a Go module of its own, so that the plugin does not depend on caddy-l4. A Caddy that
// is built with it has both.
package layer4

import (
	"context"
	"errors"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/mholt/caddy-l4" // its matchers and handlers
	l4 "github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	_ "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel" // the app
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/rawconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler forwards the connections of a caddy-l4 route to a target behind an SSH
// bastion, as `ssh -L` does.
//
// The target gets all bytes, including those that matchers have read. After the `tls`
// handler it gets what was decrypted. The handler ends its route: handlers after it get
// no connection. UDP does not go through a tunnel, so a server that listens on UDP
// cannot have this handler.
//
// A reload keeps the connections. When the process exits, they may continue for the
// `grace_period` of the `ssh_tunnel` app.
type Handler struct {
	// The name of the tunnel, as configured in the `ssh_tunnel` app.
	// Placeholders are not allowed. Required.
	TunnelName string `json:"tunnel"`

	// The target of the connections: `host:port`, which the bastion resolves, or
	// `unix//path` for a socket on the bastion. `{env.*}`, `{file.*}` and some of
	// `{system.*}` are replaced when the configuration is loaded. Other placeholders, such
	// as `{l4.tls.server_name}`, are replaced for each connection, and need `permit_open` on
	// the tunnel. Required.
	Target string `json:"target"`

	// How to forward the connections. `max_connections` counts all connections that
	// routes send through the tunnel to the target, including those from before a reload.
	config.ForwardOptions

	forwarder    *forward.Forwarder
	releaseCount func()
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "layer4.handlers.ssh_tunnel",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision looks the tunnel up. It dials nothing.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := checkPlace(ctx.Modules()); err != nil {
		return err
	}
	tun, err := dialer.Lookup(ctx, h.TunnelName)
	if err != nil {
		return err
	}
	return h.provision(ctx.Logger(), tun)
}

func (h *Handler) provision(logger *zap.Logger, tun dialer.Dialer) error {
	if err := h.Check(); err != nil {
		return err
	}
	f := &forward.Forwarder{
		Logger: logger.With(zap.String("tunnel", h.TunnelName)),
		Track:  rawconn.Open.Track,
	}
	h.Apply(f)
	target := tunnel.Target{Address: h.Target}
	if dialer.ChosenByClient(h.Target) {
		if err := checkTemplate(h.Target, tun); err != nil {
			return err
		}
		f.Dial = dialChosen(h.Target, tun)
	} else {
		var err error
		if target, err = rawconn.Target(h.Target, tun); err != nil {
			return err
		}
		f.Dial, f.Target = dialer.For(tun, target), target.Address
	}
	f.Count, h.releaseCount = rawconn.CountFor(rawconn.Key{Tunnel: h.TunnelName, Target: target})
	h.forwarder = f
	return nil
}

// Cleanup lets go of the count. Connections go on. It may follow a Provision that failed.
func (h *Handler) Cleanup() error {
	if h.releaseCount != nil {
		h.releaseCount()
	}
	return nil
}

// dialChosen returns a dial function to the target that a connection's placeholders say.
func dialChosen(template string, tun dialer.Dialer) dialer.Func {
	return func(ctx context.Context, client net.Conn) (net.Conn, error) {
		target, err := resolveTemplate(template, client.(conn).Replacer())
		if err != nil {
			return nil, err
		}
		return dialer.For(tun, target)(ctx, client)
	}
}

// errPacket is why a connection is not forwarded.
var errPacket = errors.New("ssh_tunnel does not forward UDP, which SSH cannot carry")

// Handle forwards a connection and returns when it has ended. What goes wrong with it is
// logged there.
func (h *Handler) Handle(cx *l4.Connection, _ l4.Handler) error {
	if isPacket(cx.LocalAddr().Network()) {
		return errPacket
	}
	h.forwarder.Forward(conn{cx})
	return nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	ssh_tunnel <tunnel> <target> {
//		proxy_protocol    v1|v2
//		idle_timeout      <duration>
//		max_connections   <n>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	h.TunnelName, h.Target, err = rawconn.UnmarshalCaddyfile(d, "layer4 handler ssh_tunnel", func(name string) error {
		if name == "match" {
			return errors.New("match is an option of the listener wrapper; in layer4, write a matcher for the route, as in @git tls sni git.example.com")
		}
		return h.UnmarshalOption(d)
	})
	return err
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Handler)(nil)
	_ caddy.CleanerUpper    = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ l4.NextHandler        = (*Handler)(nil)
)
