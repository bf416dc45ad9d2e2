package sshtunnel

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

func init() {
	caddy.RegisterModule(ReadyHandler{})
	httpcaddyfile.RegisterHandlerDirective("ssh_tunnel_ready", parseReadyHandler)
	httpcaddyfile.RegisterDirectiveOrder("ssh_tunnel_ready", httpcaddyfile.Before, "respond")
}

// ReadyHandler answers on a site whether tunnels are ready: for a kubelet or a load
// balancer, which cannot reach the admin API.
//
// The answer is 200, or 503 with the names of the tunnels that are not ready, each on a
// line. It contains no host and no error. A tunnel is ready if the admin API's
// `/ssh_tunnel/ready` says so: it is up, or does not have to be before its first use.
//
// The handler answers GET and HEAD.
type ReadyHandler struct {
	// The names of the tunnels that have to be ready. Default: all tunnels of the
	// configuration, and the hosts that an ssh_config file jumps through.
	Tunnels []string `json:"tunnels,omitempty"`

	tunnels []*openTunnel
}

// CaddyModule returns the Caddy module information.
func (ReadyHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ssh_tunnel_ready",
		New: func() caddy.Module { return new(ReadyHandler) },
	}
}

// Provision looks up the tunnels.
func (h *ReadyHandler) Provision(ctx caddy.Context) error {
	found, err := dialer.App(ctx)
	if err != nil {
		return err
	}
	app := found.(*App)
	if len(h.Tunnels) == 0 {
		h.tunnels = app.distinct()
		return nil
	}
	for _, name := range h.Tunnels {
		if err := dialer.CheckName(name); err != nil {
			return err
		}
		t, err := app.tunnel(name)
		if err != nil {
			return err
		}
		h.tunnels = append(h.tunnels, t)
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It calls no other handler. That a
// tunnel is not ready is no error of the site's: it would be logged with each probe.
func (h *ReadyHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	if err := adminapi.CheckMethod(w, r, http.MethodGet, http.MethodHead); err != nil {
		return caddyhttp.Error(http.StatusMethodNotAllowed, err)
	}
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")

	status, body := http.StatusOK, "ready"
	if verdict := adminapi.ReadinessOf(statusOf(h.tunnels)); !verdict.Ready {
		status, body = http.StatusServiceUnavailable, strings.Join(withoutHosts(verdict.Names()), "\n")
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, body) // the client may be gone
	return nil
}

// withoutHosts returns the names without the hosts of ssh_config files, which come after
// a space. What is left of the names of several such hosts is there once.
func withoutHosts(names []string) []string {
	for i, name := range names {
		names[i], _, _ = strings.Cut(name, " ")
	}
	return slices.Compact(names)
}

// parseReadyHandler reads the directive ssh_tunnel_ready.
func parseReadyHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(ReadyHandler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	ssh_tunnel_ready [<matcher>] [<tunnel>...]
func (h *ReadyHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	for d.NextArg() {
		name := d.Val()
		if err := dialer.CheckName(name); err != nil {
			return d.WrapErr(err)
		}
		if slices.Contains(h.Tunnels, name) {
			return d.Errf("tunnel %s is given twice", redact.Quote(name))
		}
		h.Tunnels = append(h.Tunnels, name)
	}
	if d.NextBlock(0) {
		return d.Err("ssh_tunnel_ready takes no block; usage: ssh_tunnel_ready [<matcher>] [<tunnel>...]")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*ReadyHandler)(nil)
	_ caddyfile.Unmarshaler       = (*ReadyHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*ReadyHandler)(nil)
)
