// Package config contains what is configured of the app: its JSON, its Caddyfile and
// what both mean. Resolve checks all of it and returns values; it opens no connection and
// changes nothing that was decoded. The root, the Go module layer4, the commands and packages
// doctor, configfile, need and upstreams import it.
package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// App is the configuration of the app.
type App struct {
	// The tunnels, by name. A name may have letters, digits, dots, underscores
	// and hyphens. Default: none.
	Tunnels map[string]*Tunnel `json:"tunnels,omitempty"`

	// How long raw connections, of forwards and of the listener wrapper, may
	// continue when the process exits. Caddy then resets those that remain. 0 resets
	// them at once. The time starts at the same moment as that of the `http` app,
	// after its `shutdown_delay`. Default: the `grace_period` of the `http` app, or
	// `3s` if it has none or there are no sites.
	GracePeriod *caddy.Duration `json:"grace_period,omitempty"`
}

// Resolve checks all that is configured, and returns the tunnels: each after the
// one that it jumps through, and otherwise by name. It reads the files that these
// name, but opens no connection and asks no agent.
func (a *App) Resolve(logger *zap.Logger) ([]*Resolved, error) {
	if a.GracePeriod != nil {
		r := new(resolver)
		if r.duration("grace_period", *a.GracePeriod); r.err != nil {
			return nil, r.err
		}
	}
	files := NewSSHConfigReader(logger)
	tunnels := make(map[string]*Resolved)
	claimed := make(map[string]string) // who listens, by address
	for _, name := range slices.Sorted(maps.Keys(a.Tunnels)) {
		if err := checkTunnelName(name); err != nil {
			return nil, err
		}
		t := a.Tunnels[name]
		if t == nil {
			return nil, fmt.Errorf("tunnel %q: empty; give it hosts", name)
		}
		resolved, err := t.resolve(name, logger, files)
		if err != nil {
			return nil, fmt.Errorf("tunnel %q: %w", name, err)
		}
		if err := resolved.claimAddresses(claimed); err != nil {
			return nil, err
		}
		tunnels[name] = resolved
	}
	order, err := jumpOrder(tunnels)
	if err != nil {
		return nil, err
	}
	for _, t := range order {
		if t.Via == nil {
			continue
		}
		for _, address := range t.Config.Addresses() {
			if err := dialer.CheckPermitted(t.Via.Permission, tunnel.Target{Network: "tcp", Address: address}); err != nil {
				return nil, fmt.Errorf("tunnel %q: proxy_jump: %w", t.Config.Name, err)
			}
		}
	}
	return order, nil
}

// jumpOrder returns the tunnels, each after the one that it jumps through, which it
// then knows. Jumps to an unknown tunnel or in a circle are errors.
func jumpOrder(tunnels map[string]*Resolved) ([]*Resolved, error) {
	order := make([]*Resolved, 0, len(tunnels))
	for _, name := range slices.Sorted(maps.Keys(tunnels)) {
		// Walk towards the tunnel that jumps through none, or that is placed.
		var path []string
		for n := name; n != "" && !slices.Contains(order, tunnels[n]); n = tunnels[n].Jump {
			if i := slices.Index(path, n); i >= 0 {
				circle := append(path[i:], n)
				return nil, fmt.Errorf("tunnel %q: proxy_jump goes in a circle: %s", n, strings.Join(circle, " -> "))
			}
			path = append(path, n)
			if jump := tunnels[n].Jump; jump != "" {
				if tunnels[n].Via = tunnels[jump]; tunnels[jump] == nil {
					return nil, fmt.Errorf("tunnel %q: proxy_jump: %w", n, dialer.UnknownTunnel(jump, slices.Sorted(maps.Keys(tunnels))))
				}
			}
		}
		for _, n := range slices.Backward(path) {
			order = append(order, tunnels[n])
		}
	}
	return order, nil
}

// checkTunnelName keeps names to what is the same in a Caddyfile, a URL's path
// and a network address.
func checkTunnelName(name string) error {
	for _, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		digit := '0' <= r && r <= '9'
		if !letter && !digit && !strings.ContainsRune("._-", r) {
			return fmt.Errorf("tunnel name %s has a %q; use letters, digits, dots, underscores and hyphens", redact.Quote(name), r)
		}
	}
	if strings.Trim(name, ".") == "" {
		return fmt.Errorf("tunnel name %q has no letter or digit", name)
	}
	if err := redact.Check(name); err != nil {
		return fmt.Errorf("tunnel name: %w", err)
	}
	return nil
}
