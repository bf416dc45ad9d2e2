package sshtunnel

// status.go puts together what there is to know about a configuration's tunnels.

import (
	"cmp"
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// tunnelStatus is a tunnel as the admin API tells of it.
type tunnelStatus struct {
	tunnel.Status
	// Forwards are what listens for the tunnel: here, or on its bastion.
	Forwards []forwardStatus `json:"forwards,omitempty"`
}

// forwardStatus is an address that something of the tunnel's listens on.
type forwardStatus struct {
	// Kind is "local_forward", "dynamic_forward", "remote_forward", or "bind" for
	// a site that is served from the bastion.
	Kind   string `json:"kind"`
	Listen string `json:"listen"`
	// Target is where connections go. A dynamic_forward's are where its clients
	// say, and a site's to the site.
	Target string              `json:"target,omitempty"`
	State  tunnel.ForwardState `json:"state"`
	// Error is why the bastion refuses to listen, if it does.
	Error string `json:"error,omitempty"`
	// Connections counts those that are open, whichever configuration they came
	// by.
	Connections int `json:"connections"`
}

// isReady tells whether nothing is amiss: the tunnel is up, or is not meant to
// be before somebody uses it.
func (s *tunnelStatus) isReady() bool {
	return s.Lazy || s.State == tunnel.StateUp || s.State == tunnel.StateIdle
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
			tunnels[i] = t // who is not lazy has it connect
		}
	}
	slices.SortStableFunc(tunnels, func(a, b *openTunnel) int { return cmp.Compare(a.Config.Name, b.Config.Name) })
	return tunnels
}

// status returns what there is to know about the tunnel.
func (t *openTunnel) status() tunnelStatus {
	s := tunnelStatus{Status: t.handle.Status()}
	for _, f := range t.LocalForwards {
		s.Forwards = append(s.Forwards, listeningHere("local_forward", f.Listen, targetText(f.Target)))
	}
	for _, f := range t.DynamicForwards {
		s.Forwards = append(s.Forwards, listeningHere("dynamic_forward", f.Listen, ""))
	}
	for i, f := range t.RemoteForwards {
		var ln *tunnel.Listener
		if i < len(t.remote) {
			ln = t.remote[i]
		}
		s.Forwards = append(s.Forwards, listeningThere("remote_forward", f.Listen, targetText(f.Target), ln))
	}
	var sites []forwardStatus
	bindings.Range(func(key, value any) bool {
		if b := key.(binding); b.t == t {
			var ln *tunnel.Listener
			if l := value.(*boundListener); l != nil {
				ln = l.Listener
			}
			sites = append(sites, listeningThere("bind", b.address, "", ln))
		}
		return true
	})
	slices.SortFunc(sites, func(a, b forwardStatus) int { return cmp.Compare(a.Listen, b.Listen) })
	s.Forwards = append(s.Forwards, sites...)
	return s
}

// listeningHere is the status of what listens on this machine.
func listeningHere(kind string, a listenAddress, target string) forwardStatus {
	s := forwardStatus{Kind: kind, Listen: a.String(), Target: target, State: tunnel.ForwardWaiting}
	listening, connections := sockets.status(a)
	if listening {
		s.State, s.Connections = tunnel.ForwardListening, connections
	}
	return s
}

// listeningThere is the status of what listens on the bastion.
func listeningThere(kind string, a listenAddress, target string, ln *tunnel.Listener) forwardStatus {
	s := forwardStatus{Kind: kind, Listen: a.String(), Target: target, State: tunnel.ForwardWaiting}
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
