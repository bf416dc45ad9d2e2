package sshtunnel

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/bind"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/listen"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI shows the state of SSH tunnels on Caddy's admin API, and reconnects
// them:
//
//	GET  /ssh_tunnel/tunnels                   the tunnels' status
//	GET  /ssh_tunnel/tunnels/<name>            one tunnel's
//	POST /ssh_tunnel/tunnels/<name>/reconnect  replaces its connections
//	GET  /ssh_tunnel/ready                     200 if all tunnels are up that should be
//
// The admin API decides who may use it.
//
// It has no state. Its module is provisioned before the apps of a configuration,
// and outlives one that cannot start.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.ssh_tunnel",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision adds the tunnels' metrics to those that this API serves.
func (adminAPI) Provision(ctx caddy.Context) error { return registerMetrics(ctx) }

// Routes implements caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminapi.Path, Handler: caddy.AdminHandlerFunc(serveNothing)},
		{Pattern: adminapi.Path + "tunnels", Handler: forMethods(serveTunnels, http.MethodGet, http.MethodHead)},
		{Pattern: adminapi.Path + "tunnels/{name}", Handler: forMethods(serveTunnel, http.MethodGet, http.MethodHead)},
		{Pattern: adminapi.Path + "tunnels/{name}/reconnect", Handler: forMethods(serveReconnect, http.MethodPost)},
		{Pattern: adminapi.Path + "ready", Handler: forMethods(serveReady, http.MethodGet, http.MethodHead)},
	}
}

// forMethods refuses other methods. The patterns do not name them: the mux would
// answer in words of its own.
func forMethods(handle caddy.AdminHandlerFunc, methods ...string) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if err := adminapi.CheckMethod(w, r, methods...); err != nil {
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: err}
		}
		return handle(w, r)
	})
}

// serveNothing answers for paths that there are not.
func serveNothing(_ http.ResponseWriter, r *http.Request) error {
	return caddy.APIError{
		HTTPStatus: http.StatusNotFound,
		Err:        fmt.Errorf("nothing at %q; there is %[2]stunnels, %[2]stunnels/<name>, %[2]stunnels/<name>/reconnect and %[2]sready", r.URL.Path, adminapi.Path),
	}
}

func serveTunnels(w http.ResponseWriter, _ *http.Request) error {
	tunnels, err := requireTunnels()
	if err != nil {
		return err
	}
	return adminapi.WriteJSON(w, http.StatusOK, statusOf(tunnels))
}

func serveTunnel(w http.ResponseWriter, r *http.Request) error {
	t, err := requestedTunnel(r)
	if err != nil {
		return err
	}
	return adminapi.WriteJSON(w, http.StatusOK, t.status())
}

func serveReconnect(w http.ResponseWriter, r *http.Request) error {
	t, err := requestedTunnel(r)
	if err != nil {
		return err
	}
	if err := t.handle.Reconnect(); err != nil {
		// The configuration has just been replaced.
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: fmt.Errorf("tunnel %q: %w", t.Config.Name, err)}
	}
	return adminapi.WriteJSON(w, http.StatusAccepted, t.status())
}

// requestedTunnel returns the tunnel that a request's path names.
func requestedTunnel(r *http.Request) (*openTunnel, error) {
	tunnels, err := requireTunnels()
	if err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	names := make([]string, len(tunnels))
	for i, t := range tunnels {
		if t.Config.Name == name {
			return t, nil
		}
		names[i] = t.Config.Name
	}
	return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: dialer.UnknownTunnel(name, names)}
}

// errNothingRuns is the error while Caddy has no configuration, or still starts.
var errNothingRuns = errors.New("no configuration is running; Caddy is still starting, or has none")

// requireTunnels is runningTunnels with an error while no configuration runs.
func requireTunnels() ([]*openTunnel, error) {
	tunnels, running, err := runningTunnels()
	if err == nil && !running {
		err = caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errNothingRuns}
	}
	return tunnels, err
}

// serveReady answers probes. That a tunnel is not up is no error of the API's: it
// would be logged each time.
func serveReady(w http.ResponseWriter, _ *http.Request) error {
	tunnels, running, err := runningTunnels()
	if err == nil && !running {
		err = errNothingRuns
	}
	answer := adminapi.ReadinessOf(statusOf(tunnels))
	if err != nil {
		answer.Ready, answer.Error = false, err.Error()
	}
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	return adminapi.WriteJSON(w, status, answer)
}

// runningTunnels returns the tunnels of the configuration that runs. It is looked
// up each time: what a failed reload has left behind may be another's. It is false
// while none runs.
func runningTunnels() (tunnels []*openTunnel, running bool, err error) {
	ctx := caddy.ActiveContext()
	if ctx.Context == nil {
		return nil, false, nil
	}
	app, err := ctx.AppIfConfigured("ssh_tunnel")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, true, nil
	}
	if err != nil {
		return nil, true, err
	}
	return app.(*App).distinct(), true, nil
}

// distinct returns the app's tunnels by name: each once, those included that
// ssh_config jumps through, which several may share.
func (a *App) distinct() []*openTunnel {
	var tunnels []*openTunnel
	for _, t := range a.opened {
		same := func(o *openTunnel) bool { return o.handle.Key() == t.handle.Key() }
		switch i := slices.IndexFunc(tunnels, same); {
		case i < 0:
			tunnels = append(tunnels, t)
		case tunnels[i].Settings.Lazy:
			tunnels[i] = t // the one that is not lazy makes it connect
		}
	}
	slices.SortStableFunc(tunnels, func(a, b *openTunnel) int { return cmp.Compare(a.Config.Name, b.Config.Name) })
	return tunnels
}

// statusSource has the tunnels of a configuration for the status page.
type statusSource struct{ app *App }

// TunnelStatus implements statuspage.Source: by name.
func (s statusSource) TunnelStatus() []adminapi.Status { return statusOf(s.app.distinct()) }

// statusOf returns the status of each tunnel.
func statusOf(tunnels []*openTunnel) []adminapi.Status {
	all := make([]adminapi.Status, len(tunnels))
	for i, t := range tunnels {
		all[i] = t.status()
	}
	return all
}

// status returns what there is to know about the tunnel.
func (t *openTunnel) status() adminapi.Status {
	s := adminapi.Status{Status: t.handle.Status()}
	select {
	case <-t.started:
	default:
		// A site of the configuration may serve before the app has started. The forwards
		// are being opened, and a tunnel that seems idle is about to connect.
		if s.State == report.StateIdle && !s.Lazy {
			s.State = report.StateConnecting
		}
		return s
	}
	for _, f := range t.LocalForwards {
		s.Forwards = append(s.Forwards, listeningHere("local_forward", f.Listen, targetText(f.Target)))
	}
	for _, f := range t.DynamicForwards {
		s.Forwards = append(s.Forwards, listeningHere("dynamic_forward", f.Listen, ""))
	}
	for i, f := range t.RemoteForwards {
		var ln *remote.Listener
		if i < len(t.remote) {
			ln = t.remote[i]
		}
		s.Forwards = append(s.Forwards, listeningThere("remote_forward", f.Listen, targetText(f.Target), ln))
	}
	for _, b := range bind.Open() {
		if b.Handle == t.handle {
			s.Forwards = append(s.Forwards, listeningThere("bind", b.Address, "", b.Listener))
		}
	}
	return s
}

// listeningHere is the status of what listens on this machine.
func listeningHere(kind string, a hostport.ListenAddress, target string) adminapi.Forward {
	s := adminapi.Forward{Kind: kind, Listen: a.String(), Target: target, State: remote.Waiting}
	if listening, connections := listen.Status(a); listening {
		s.State, s.Connections = remote.Listening, connections
	}
	return s
}

// listeningThere is the status of what listens on the bastion.
func listeningThere(kind string, a hostport.ListenAddress, target string, ln *remote.Listener) adminapi.Forward {
	s := adminapi.Forward{Kind: kind, Listen: a.String(), Target: target, State: remote.Waiting}
	if ln == nil {
		return s // it is about to be
	}
	now := ln.Status()
	s.State, s.Connections = now.State, now.Connections
	if now.Err != nil {
		s.Error = now.Err.Error()
	}
	return s
}

// targetText is a target as it is written.
func targetText(t tunnel.Target) string {
	if t.Network == "unix" {
		return "unix/" + t.Address
	}
	return t.Address
}

// Interface guards
var (
	_ caddy.Provisioner = adminAPI{}
	_ caddy.AdminRouter = adminAPI{}
)
