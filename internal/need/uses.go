// Package need finds out what a configuration needs of a bastion, and writes that as
// authorized_keys and sshd_config have it. It opens nothing. Packages configfile and doctor,
// and the commands, import it.
package need

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/upstreams"
)

// Target is a target, and who wants it.
type Target struct {
	tunnel.Target
	By string // as in "reverse_proxy"
}

// Unknown is who dials targets that are known at each request only.
type Unknown struct {
	By   string // as in "the upstream {http.vars.x}:80"
	Port string // the one port of all of them, or ""
}

// Uses is what a configuration uses a tunnel for.
type Uses struct {
	Targets []Target
	Unknown []Unknown
	Listens []hostport.ListenAddress // on the bastion
}

// OnlyListens reports whether nothing is dialed through the tunnel.
func (u *Uses) OnlyListens() bool { return len(u.Listens) > 0 && len(u.Targets)+len(u.Unknown) == 0 }

// Add adds a target, once.
func (u *Uses) Add(by string, target tunnel.Target) {
	if !slices.ContainsFunc(u.Targets, func(w Target) bool { return w.Network == target.Network && w.Address == target.Address }) {
		u.Targets = append(u.Targets, Target{target, by})
	}
}

// listen adds an address on the bastion, once.
func (u *Uses) listen(address hostport.ListenAddress) {
	if !slices.Contains(u.Listens, address) {
		u.Listens = append(u.Listens, address)
	}
}

// Find returns what a configuration, as JSON, uses a tunnel for: the upstreams and proxies
// of its reverse proxies, the targets of listener wrappers and of caddy-l4's routes, its own
// forwards, and the sites on its bastion. It does not look for tunnels that jump through
// this one.
func Find(configuration []byte, t *config.Resolved) *Uses {
	u := new(Uses)
	var whole any
	_ = json.Unmarshal(configuration, &whole) // who calls this has read it
	transport.WalkObjects(whole, func(object map[string]any) {
		through, _ := object["transport"].(map[string]any)
		switch {
		case object["handler"] == "reverse_proxy" && through["protocol"] == "ssh_tunnel" && through["tunnel"] == t.Config.Name:
			u.addProxy(object, through)
		case object["wrapper"] == "ssh_tunnel" && object["tunnel"] == t.Config.Name:
			written, _ := object["target"].(string)
			if target, err := config.ResolveTarget(written); err == nil {
				u.Add("listener wrapper", target)
			}
		case object["handler"] == "ssh_tunnel" && object["tunnel"] == t.Config.Name:
			u.addLayer4(object)
		case object["listen"] != nil:
			u.addServer(object, t.Config.Name, httpPort(whole))
		}
	})
	for _, f := range t.LocalForwards {
		u.Add("local_forward", f.Target)
	}
	for _, f := range t.DynamicForwards {
		u.Unknown = append(u.Unknown, Unknown{By: "clients of the dynamic_forward at " + f.Listen.String()})
	}
	for _, f := range t.RemoteForwards {
		u.listen(f.Listen)
	}
	return u
}

// addLayer4 adds the target of the handler for caddy-l4.
func (u *Uses) addLayer4(handler map[string]any) {
	written, _ := handler["target"].(string)
	if dialer.ChosenByClient(written) {
		u.Unknown = append(u.Unknown, Unknown{By: fmt.Sprintf("the layer4 target %q", written)})
		return
	}
	if target, err := config.ResolveTarget(written); err == nil {
		u.Add("layer4", target)
	}
}

// addProxy adds what a reverse proxy dials.
func (u *Uses) addProxy(handler, through map[string]any) {
	if u.addNetworkProxy(through) {
		return
	}
	const by = "reverse_proxy"
	checks, _ := handler["health_checks"].(map[string]any)
	active, _ := checks["active"].(map[string]any)
	healthPort, _ := active["port"].(float64)
	healthUpstream, _ := active["upstream"].(string)
	dials := []string{healthUpstream}
	static, _ := handler["upstreams"].([]any)
	for _, upstream := range static {
		object, _ := upstream.(map[string]any)
		dial, _ := object["dial"].(string)
		dials = append(dials, dial)
	}
	for i, dial := range dials {
		if strings.Contains(dial, "{") {
			u.Unknown = append(u.Unknown, Unknown{By: fmt.Sprintf("the upstream %q", dial)})
			continue
		}
		target, err := transport.UpstreamTarget(dial)
		if err != nil {
			continue
		}
		u.Add(by, target)
		if host, _, err := net.SplitHostPort(target.Address); err == nil && i > 0 && healthPort > 0 && healthUpstream == "" {
			target.Address = net.JoinHostPort(host, strconv.Itoa(int(healthPort)))
			u.Add("health_port", target)
		}
	}
	if source, ok := handler["dynamic_upstreams"].(map[string]any); ok {
		u.addSource(source)
	}
}

// addSource adds what is dialed for dynamic upstreams: the upstreams, and the DNS servers
// behind the bastion.
func (u *Uses) addSource(source map[string]any) {
	name, _ := source["source"].(string)
	unknown := Unknown{By: "dynamic upstreams " + name}
	hasPort := name == "a" || name == "ssh_tunnel" && source["type"] == string(upstreams.TypeA)
	if port, _ := source["port"].(string); hasPort && !strings.Contains(port, "{") {
		unknown.Port = cmp.Or(port, "80")
	}
	u.Unknown = append(u.Unknown, unknown)
	transport.WalkObjects(source, func(object map[string]any) { // those of the source multi as well
		resolvers, _ := object["resolvers"].([]any)
		for _, r := range resolvers {
			written, _ := r.(string)
			if target, err := upstreams.ParseResolver(written); err == nil {
				u.Add("resolvers", target)
			}
		}
	})
}

// addNetworkProxy adds the network_proxy of a transport. If there is one, all that the
// transport dials is that.
func (u *Uses) addNetworkProxy(through map[string]any) bool {
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
			u.Add("network_proxy", target)
			return true
		}
	}
	u.Unknown = append(u.Unknown, Unknown{By: "a network_proxy that is not written out"})
	return true
}

// addServer adds where a server listens on a tunnel's bastion. Caddy may answer on the
// HTTP port of the same address as well, to redirect to HTTPS.
func (u *Uses) addServer(server map[string]any, name string, httpPort uint) {
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
