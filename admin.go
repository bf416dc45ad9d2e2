package sshtunnel

// admin.go contains what Caddy's admin API tells of tunnels, and does with them.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminPath is where the API is.
const adminPath = "/ssh_tunnel/"

// adminAPI is part of Caddy's admin API, which decides who may use it:
//
//	GET  /ssh_tunnel/tunnels                   the tunnels' status
//	GET  /ssh_tunnel/tunnels/<name>            one tunnel's
//	POST /ssh_tunnel/tunnels/<name>/reconnect  has new connections take over
//	GET  /ssh_tunnel/ready                     200 if all tunnels are up that are to be
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
		{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(serveNothing)},
		{Pattern: adminPath + "tunnels", Handler: forMethods(serveTunnels, http.MethodGet, http.MethodHead)},
		{Pattern: adminPath + "tunnels/{name}", Handler: forMethods(serveTunnel, http.MethodGet, http.MethodHead)},
		{Pattern: adminPath + "tunnels/{name}/reconnect", Handler: forMethods(serveReconnect, http.MethodPost)},
		{Pattern: adminPath + "ready", Handler: forMethods(serveReady, http.MethodGet, http.MethodHead)},
	}
}

// forMethods refuses other methods. The patterns do not name them: the mux would
// answer in words of its own.
func forMethods(handle caddy.AdminHandlerFunc, methods ...string) caddy.AdminHandler {
	allowed := strings.Join(methods, ", ")
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if slices.Contains(methods, r.Method) {
			return handle(w, r)
		}
		w.Header().Set("Allow", allowed)
		return caddy.APIError{
			HTTPStatus: http.StatusMethodNotAllowed,
			Err:        fmt.Errorf("method %s not allowed; use %s", r.Method, allowed),
		}
	})
}

// serveNothing answers for paths that there are not.
func serveNothing(_ http.ResponseWriter, r *http.Request) error {
	return caddy.APIError{
		HTTPStatus: http.StatusNotFound,
		Err:        fmt.Errorf("nothing at %q; there is %[2]stunnels, %[2]stunnels/<name>, %[2]stunnels/<name>/reconnect and %[2]sready", r.URL.Path, adminPath),
	}
}

func serveTunnels(w http.ResponseWriter, _ *http.Request) error {
	tunnels, _, err := runningTunnels()
	if err != nil {
		return err
	}
	all := make([]tunnelStatus, len(tunnels))
	for i, t := range tunnels {
		all[i] = t.status()
	}
	return writeJSON(w, http.StatusOK, all)
}

func serveTunnel(w http.ResponseWriter, r *http.Request) error {
	t, err := requestedTunnel(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, t.status())
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
	return writeJSON(w, http.StatusAccepted, t.status())
}

// requestedTunnel returns the tunnel that a request's path names.
func requestedTunnel(r *http.Request) (*openTunnel, error) {
	tunnels, _, err := runningTunnels()
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
	return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: UnknownTunnel(name, names)}
}

// readiness is whether all is well that is meant to be.
type readiness struct {
	Ready bool `json:"ready"`
	// NotReady are the tunnels that are not up, and are meant to be.
	NotReady []unreadyTunnel `json:"not_ready"`
	// Error tells why nothing can be said about tunnels.
	Error string `json:"error,omitempty"`
}

// unreadyTunnel is a tunnel that is not up, and why.
type unreadyTunnel struct {
	Tunnel string       `json:"tunnel"`
	State  tunnel.State `json:"state"`
	Cause  tunnel.Cause `json:"cause,omitempty"`
	Error  string       `json:"error,omitempty"`
}

// errNothingRuns is that Caddy has no configuration, or none yet.
var errNothingRuns = errors.New("no configuration is running")

// serveReady answers probes. That a tunnel is not up is no error of the API's: it
// would be logged each time.
func serveReady(w http.ResponseWriter, _ *http.Request) error {
	tunnels, running, err := runningTunnels()
	if err == nil && !running {
		err = errNothingRuns
	}
	answer := readiness{NotReady: []unreadyTunnel{}}
	if err != nil {
		answer.Error = err.Error()
	}
	for _, t := range tunnels {
		s := t.status()
		if s.isReady() {
			continue
		}
		u := unreadyTunnel{Tunnel: s.Tunnel, State: s.State}
		if s.LastError != nil {
			u.Cause, u.Error = s.LastError.Cause, s.LastError.Error
		}
		answer.NotReady = append(answer.NotReady, u)
	}
	answer.Ready = err == nil && len(answer.NotReady) == 0
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	return writeJSON(w, status, answer)
}

// writeJSON writes an answer, which holds for no longer than this moment.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // who asked may have gone
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner = adminAPI{}
	_ caddy.AdminRouter = adminAPI{}
)
