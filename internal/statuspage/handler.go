// Package statuspage serves the page of the directive ssh_tunnel_status, with charts of
// the last fifteen minutes. It samples what the charts show. It does not find out what
// tunnels are like: it asks the app, which it looks up and does not import. The root
// imports it.
package statuspage

import (
	"bytes"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("ssh_tunnel_status", parseHandler)
	// After basic_auth and forward_auth, which have to protect the page.
	httpcaddyfile.RegisterDirectiveOrder("ssh_tunnel_status", httpcaddyfile.Before, "respond")
}

// Handler serves a page that shows the configuration's tunnels, and can change nothing.
//
// The page shows what `caddy ssh-tunnel status` shows, and charts of the last 15
// minutes. It works without JavaScript. With JavaScript, it updates itself. It loads
// nothing else. With `Accept: application/json`, the answer is the JSON of the admin
// API's `/ssh_tunnel/tunnels`.
//
// The page shows hosts, users, targets and errors. Let only operators see it, for
// example with `basic_auth`.
//
// The handler answers GET and HEAD.
type Handler struct {
	app Source
	// stopRecording ends the handler's part in the recording for the charts.
	stopRecording func()
}

// Source has the tunnels of a configuration. TunnelStatus does no I/O.
type Source interface {
	TunnelStatus() []adminapi.Status
}

// ofApp returns the tunnels of an app.
var ofApp func(app caddy.App) Source

// SetSource sets where pages get the tunnels of an app. The package of the app calls it in
// its init. A method of the app would be a part of the API that other plugins see.
func SetSource(source func(app caddy.App) Source) { ofApp = source }

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ssh_tunnel_status",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision looks up the app, and starts the recording for the charts.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := dialer.App(ctx)
	if err != nil {
		return err
	}
	h.app = ofApp(app)
	h.stopRecording = charts.add(h.app)
	return nil
}

// Cleanup ends the recording, unless another page needs it.
func (h *Handler) Cleanup() error {
	if h.stopRecording != nil {
		h.stopRecording()
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It calls no other handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	if err := adminapi.CheckMethod(w, r, http.MethodGet, http.MethodHead); err != nil {
		return caddyhttp.Error(http.StatusMethodNotAllowed, err)
	}
	header.Set("Vary", "Accept")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", contentSecurityPolicy)

	tunnels := h.app.TunnelStatus()
	if prefersJSON(r.Header.Values("Accept")) {
		return adminapi.WriteJSON(w, http.StatusOK, tunnels)
	}
	var body bytes.Buffer
	if err := writePage(&body, newPage(tunnels, charts.history, time.Now())); err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(body.Bytes()) // the client may be gone
	return nil
}

// parseHandler reads the directive ssh_tunnel_status.
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	ssh_tunnel_status [<matcher>]
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	const usage = "usage: ssh_tunnel_status [<matcher>]"
	d.Next() // the directive
	if d.NextArg() {
		return d.Errf("ssh_tunnel_status takes no argument but a matcher; got %s; %s", redact.Quote(d.Val()), usage)
	}
	if d.NextBlock(0) {
		return d.Err("ssh_tunnel_status takes no block; " + usage)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
