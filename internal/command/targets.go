package command

// targets.go finds what a configuration sends through a tunnel.

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// wantedTarget is a target, and who wants it.
type wantedTarget struct {
	tunnel.Target
	by string // as in "reverse_proxy"
}

// targets returns what a tunnel is to reach: the upstreams of reverse proxies,
// the targets of listener wrappers, its own local forwards, and the bastions of
// tunnels that jump through it. Upstreams with placeholders, and those that are
// looked up, are known at each request only.
func (c *commandConfig) targets(t *config.Resolved) []wantedTarget {
	var found []wantedTarget
	add := func(by string, target tunnel.Target) {
		if !slices.ContainsFunc(found, func(w wantedTarget) bool { return w.Network == target.Network && w.Address == target.Address }) {
			found = append(found, wantedTarget{target, by})
		}
	}
	var whole any
	_ = json.Unmarshal(c.raw, &whole) // load has read it
	transport.WalkObjects(whole, func(object map[string]any) {
		through, _ := object["transport"].(map[string]any)
		switch {
		case object["handler"] == "reverse_proxy" && through["protocol"] == "ssh_tunnel" && through["tunnel"] == t.Config.Name:
			upstreams, _ := object["upstreams"].([]any)
			for _, u := range upstreams {
				upstream, _ := u.(map[string]any)
				dial, _ := upstream["dial"].(string)
				if target, err := transport.UpstreamTarget(dial); err == nil && !strings.Contains(dial, "{") {
					add("reverse_proxy", target)
				}
			}
		case object["wrapper"] == "ssh_tunnel" && object["tunnel"] == t.Config.Name:
			written, _ := object["target"].(string)
			if target, err := config.ResolveTarget(written); err == nil {
				add("listener wrapper", target)
			}
		}
	})
	for _, f := range t.LocalForwards {
		add("local_forward", f.Target)
	}
	// As they are written: those tunnels may not be in order.
	app, _ := c.decode()
	for _, name := range c.tunnels {
		other := app.Tunnels[name]
		if other == nil || other.ProxyJump != t.Config.Name {
			continue
		}
		for _, host := range other.Hosts {
			if _, host, port, err := hostport.SplitServer(host); err == nil {
				add("proxy_jump of "+name, tunnel.Target{Network: "tcp", Address: net.JoinHostPort(host, port)})
			}
		}
	}
	return found
}

// parseTargets reads targets that were typed.
func parseTargets(typed []string) ([]wantedTarget, error) {
	var targets []wantedTarget
	for _, s := range typed {
		target, err := hostport.ParseTarget(s)
		if err != nil {
			return nil, fmt.Errorf("--target: %w", err)
		}
		targets = append(targets, wantedTarget{target, "--target"})
	}
	return targets, nil
}

// onlyListens reports whether a tunnel is for what listens on its bastion alone: a
// remote_forward or a site. Nothing is then dialed through it.
func (c *commandConfig) onlyListens(t *config.Resolved) bool {
	listens, dials := len(t.RemoteForwards) > 0, len(t.LocalForwards)+len(t.DynamicForwards) > 0
	var whole any
	_ = json.Unmarshal(c.raw, &whole) // load has read it
	transport.WalkObjects(whole, func(object map[string]any) {
		through, _ := object["transport"].(map[string]any)
		dials = dials || through["protocol"] == "ssh_tunnel" && through["tunnel"] == t.Config.Name ||
			object["wrapper"] == "ssh_tunnel" && object["tunnel"] == t.Config.Name
		addresses, _ := object["listen"].([]any)
		for _, a := range addresses {
			address, _ := a.(string)
			network, rest, _ := strings.Cut(address, "/")
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, "["), "/")
			name, _, _ = strings.Cut(name, ":")
			listens = listens || network == "ssh_tunnel" && name == t.Config.Name
		}
	})
	return listens && !dials
}
