package command

// uses.go finds out what a configuration uses a tunnel for: what it dials through it, and
// where it listens on the bastion.

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

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

// unknownTarget is who dials targets that are known at each request only.
type unknownTarget struct {
	by   string // as in "the upstream {http.vars.x}:80"
	port string // the one port of all of them, or ""
}

// uses is what a configuration uses a tunnel for.
type uses struct {
	targets []wantedTarget
	unknown []unknownTarget
	listens []hostport.ListenAddress // on the bastion
}

// onlyListens reports whether nothing is dialed through the tunnel.
func (u *uses) onlyListens() bool { return len(u.listens) > 0 && len(u.targets)+len(u.unknown) == 0 }

// add adds a target, once.
func (u *uses) add(by string, target tunnel.Target) {
	if !slices.ContainsFunc(u.targets, func(w wantedTarget) bool { return w.Network == target.Network && w.Address == target.Address }) {
		u.targets = append(u.targets, wantedTarget{target, by})
	}
}

// listen adds an address on the bastion, once.
func (u *uses) listen(address hostport.ListenAddress) {
	if !slices.Contains(u.listens, address) {
		u.listens = append(u.listens, address)
	}
}

// uses returns what the configuration uses a tunnel for: the upstreams and proxies of its
// reverse proxies, the targets of listener wrappers, its own forwards, the sites on its
// bastion, and the bastions of tunnels that jump through it.
func (c *commandConfig) uses(t *config.Resolved) *uses {
	u := new(uses)
	var whole any
	_ = json.Unmarshal(c.raw, &whole) // load has read it
	transport.WalkObjects(whole, func(object map[string]any) {
		through, _ := object["transport"].(map[string]any)
		switch {
		case object["handler"] == "reverse_proxy" && through["protocol"] == "ssh_tunnel" && through["tunnel"] == t.Config.Name:
			u.addProxy(object, through)
		case object["wrapper"] == "ssh_tunnel" && object["tunnel"] == t.Config.Name:
			written, _ := object["target"].(string)
			if target, err := config.ResolveTarget(written); err == nil {
				u.add("listener wrapper", target)
			}
		case object["listen"] != nil:
			u.addServer(object, t.Config.Name, httpPort(whole))
		}
	})
	for _, f := range t.LocalForwards {
		u.add("local_forward", f.Target)
	}
	for _, f := range t.DynamicForwards {
		u.unknown = append(u.unknown, unknownTarget{by: "clients of the dynamic_forward at " + f.Listen.String()})
	}
	for _, f := range t.RemoteForwards {
		u.listen(f.Listen)
	}
	c.addJumps(u, t)
	return u
}

// addProxy adds what a reverse proxy dials.
func (u *uses) addProxy(handler, through map[string]any) {
	if u.addNetworkProxy(through) {
		return
	}
	const by = "reverse_proxy"
	checks, _ := handler["health_checks"].(map[string]any)
	active, _ := checks["active"].(map[string]any)
	healthPort, _ := active["port"].(float64)
	healthUpstream, _ := active["upstream"].(string)
	dials := []string{healthUpstream}
	upstreams, _ := handler["upstreams"].([]any)
	for _, upstream := range upstreams {
		object, _ := upstream.(map[string]any)
		dial, _ := object["dial"].(string)
		dials = append(dials, dial)
	}
	for i, dial := range dials {
		if strings.Contains(dial, "{") {
			u.unknown = append(u.unknown, unknownTarget{by: fmt.Sprintf("the upstream %q", dial)})
			continue
		}
		target, err := transport.UpstreamTarget(dial)
		if err != nil {
			continue
		}
		u.add(by, target)
		if host, _, err := net.SplitHostPort(target.Address); err == nil && i > 0 && healthPort > 0 && healthUpstream == "" {
			target.Address = net.JoinHostPort(host, strconv.Itoa(int(healthPort)))
			u.add("health_port", target)
		}
	}
	if source, _ := handler["dynamic_upstreams"].(map[string]any); source != nil {
		name, _ := source["source"].(string)
		unknown := unknownTarget{by: "the dynamic upstreams of the source " + name}
		if port, _ := source["port"].(string); name == "a" && !strings.Contains(port, "{") {
			unknown.port = port
			if port == "" {
				unknown.port = "80"
			}
		}
		u.unknown = append(u.unknown, unknown)
	}
}

// addNetworkProxy adds the network_proxy of a transport. If there is one, all that the
// transport dials is that.
func (u *uses) addNetworkProxy(through map[string]any) bool {
	written, _ := through["forward_proxy_url"].(string)
	options, _ := through["network_proxy"].(map[string]any)
	if options["from"] == "url" && written == "" {
		written, _ = options["url"].(string)
	}
	if options == nil && written == "" || options["from"] == "none" && written == "" {
		return false
	}
	if parsed, err := url.Parse(written); err == nil && written != "" && !strings.Contains(written, "{") {
		if target, err := transport.ProxyTarget(parsed); err == nil {
			u.add("network_proxy", target)
			return true
		}
	}
	u.unknown = append(u.unknown, unknownTarget{by: "a network_proxy that is not written out"})
	return true
}

// addServer adds where a server listens on a tunnel's bastion. Caddy may answer on the
// HTTP port of the same address as well, to redirect to HTTPS.
func (u *uses) addServer(server map[string]any, name string, httpPort uint) {
	automatic, _ := server["automatic_https"].(map[string]any)
	redirects := automatic["disable"] != true && automatic["disable_redirects"] != true &&
		(server["tls_connection_policies"] != nil || hasHosts(server))
	addresses, _ := server["listen"].([]any)
	for _, a := range addresses {
		written, _ := a.(string)
		address, err := caddy.ParseNetworkAddress(caddy.NewReplacer().ReplaceKnown(written, ""))
		if err != nil || address.Network != "ssh_tunnel" {
			continue
		}
		to, where, _ := strings.Cut(address.Host, "/")
		if to != name {
			continue
		}
		for port := address.StartPort; port <= address.EndPort; port++ {
			listen, err := hostport.ParseBind(where, port)
			if err != nil {
				continue
			}
			u.listen(listen)
			if redirects && listen.Network != "unix" && port != httpPort {
				if redirect, err := hostport.ParseBind(where, httpPort); err == nil {
					u.listen(redirect)
				}
			}
		}
	}
}

// hasHosts reports whether a server has sites with names, for which Caddy turns on HTTPS.
func hasHosts(server map[string]any) (has bool) {
	routes, _ := server["routes"].([]any)
	for _, r := range routes {
		route, _ := r.(map[string]any)
		matchers, _ := route["match"].([]any)
		for _, m := range matchers {
			matcher, _ := m.(map[string]any)
			has = has || matcher["host"] != nil
		}
	}
	return has
}

// httpPort returns the port that Caddy redirects from.
func httpPort(whole any) uint {
	config, _ := whole.(map[string]any)
	apps, _ := config["apps"].(map[string]any)
	http, _ := apps["http"].(map[string]any)
	if port, _ := http["http_port"].(float64); port > 0 {
		return uint(port)
	}
	return 80
}

// addJumps adds what tunnels that jump through this one dial.
func (c *commandConfig) addJumps(u *uses, t *config.Resolved) {
	app, _ := c.decode()
	for _, name := range c.tunnels {
		other := app.Tunnels[name]
		if other == nil || caddy.NewReplacer().ReplaceKnown(other.ProxyJump, "") != t.Config.Name {
			continue
		}
		var addresses []string
		if resolved, err := c.resolveOne(nil, name); err == nil {
			chain := resolved.Chain()
			at := slices.IndexFunc(chain, func(hop *config.Resolved) bool { return hop.Config.Name == t.Config.Name })
			addresses = chain[at+1].Config.Addresses()
		} else { // it is not in order; what is written may be
			for _, host := range other.Hosts {
				if bastion, err := hostport.ParseServer(host); err == nil {
					addresses = append(addresses, bastion.Address())
				}
			}
		}
		for _, address := range addresses {
			u.add("proxy_jump of "+name, tunnel.Target{Network: "tcp", Address: address})
		}
	}
}

// parseTargets reads targets that were typed.
func parseTargets(typed []string) ([]wantedTarget, error) {
	var targets []wantedTarget
	for _, s := range typed {
		target, err := hostport.ParseTarget(s, hostport.Bastion)
		if err != nil {
			return nil, fmt.Errorf("--target: %w", err)
		}
		targets = append(targets, wantedTarget{target, "--target"})
	}
	return targets, nil
}
