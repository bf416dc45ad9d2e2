// Package adminapi contains what the admin API answers with, in JSON and in words, and
// its client. It does not answer: the root does, which knows the tunnels. The root, the
// commands and the status page import it.
package adminapi

import (
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// Path is where the API is.
const Path = "/ssh_tunnel/"

// Status is a tunnel in the admin API.
type Status struct {
	report.Status
	// Forwards are what listens for the tunnel: here, or on its bastion.
	Forwards []Forward `json:"forwards,omitempty"`
}

// Forward is an address that something of the tunnel's listens on.
type Forward struct {
	// Kind is "local_forward", "dynamic_forward", "remote_forward", or "bind" for
	// a site that is served from the bastion.
	Kind   string `json:"kind"`
	Listen string `json:"listen"`
	// Target is where connections go. A dynamic_forward's are where its clients
	// say, and a site's to the site.
	Target string       `json:"target,omitempty"`
	State  remote.State `json:"state"`
	// Error is why the bastion refuses to listen, if it does.
	Error string `json:"error,omitempty"`
	// Connections counts those that are open, whichever configuration they came
	// by.
	Connections int `json:"connections"`
}

// IsReady reports whether nothing is amiss: the tunnel is up, or is not meant to
// be before somebody uses it.
func (s *Status) IsReady() bool {
	return s.Lazy || s.State == report.StateUp || s.State == report.StateIdle
}

// Readiness is whether all is well that is meant to be.
type Readiness struct {
	Ready bool `json:"ready"`
	// NotReady are the tunnels that are not up, and are meant to be.
	NotReady []NotReady `json:"not_ready"`
	// Error tells why nothing can be said about tunnels.
	Error string `json:"error,omitempty"`
}

// ReadinessOf is the verdict about tunnels: all are ready, or which are not, and why.
func ReadinessOf(tunnels []Status) Readiness {
	r := Readiness{NotReady: []NotReady{}}
	for i := range tunnels {
		s := &tunnels[i]
		if s.IsReady() {
			continue
		}
		n := NotReady{Tunnel: s.Tunnel, State: s.State}
		if s.LastError != nil {
			n.Cause, n.Error = s.LastError.Cause, s.LastError.Error
		}
		r.NotReady = append(r.NotReady, n)
	}
	r.Ready = len(r.NotReady) == 0
	return r
}

// Names returns the names of the tunnels that are not ready.
func (r *Readiness) Names() []string {
	names := make([]string, len(r.NotReady))
	for i, n := range r.NotReady {
		names[i] = n.Tunnel
	}
	return names
}

// NotReady is a tunnel that is not up, and why.
type NotReady struct {
	Tunnel string        `json:"tunnel"`
	State  report.State  `json:"state"`
	Cause  failure.Cause `json:"cause,omitempty"`
	Error  string        `json:"error,omitempty"`
}
