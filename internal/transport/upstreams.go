package transport

// upstreams.go checks the upstreams of a reverse proxy, and tells
// those behind one tunnel from those behind another.

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// checkUpstreams refuses upstreams that no tunnel leads to, and those that may
// not be dialed through this one.
func checkUpstreams(h *reverseproxy.Handler, tun dialer.Permitter) error {
	for _, u := range h.Upstreams {
		if err := redact.Check(caddy.NewReplacer().ReplaceKnown(u.Dial, "")); err != nil {
			return fmt.Errorf("upstream: %w", err)
		}
		if err := checkUpstream(u.Dial, tun); err != nil {
			return fmt.Errorf("upstream %q: %w", u.Dial, err)
		}
	}
	if h.DynamicUpstreamsRaw != nil && !tun.Restricts() {
		if err := checkSource(h.DynamicUpstreamsRaw); err != nil {
			return fmt.Errorf("dynamic upstreams: %w", err)
		}
	}
	return checkHealthChecks(h, tun)
}

// errPlaceholder is why a client must not choose the upstream: everything that
// the bastion reaches would be open to it.
var errPlaceholder = errors.New("an upstream with placeholders needs permit_open on its tunnel, to say where it may lead; add that, or write the upstreams out")

// checkUpstream checks an upstream. Where one with placeholders leads is
// checked when it is dialed.
func checkUpstream(dial string, tun dialer.Permitter) error {
	if strings.Contains(dial, "{") {
		if !tun.Restricts() {
			return errPlaceholder
		}
		network, _ := splitUpstream(dial)
		return checkNetwork(network)
	}
	target, err := UpstreamTarget(dial)
	if err != nil {
		return err
	}
	return dialer.CheckPermitted(tun, target)
}

// UpstreamTarget returns where an upstream without placeholders leads.
func UpstreamTarget(dial string) (tunnel.Target, error) {
	if err := redact.Check(dial); err != nil {
		return tunnel.Target{}, err
	}
	addr, err := caddy.ParseNetworkAddress(dial)
	if err != nil {
		return tunnel.Target{}, err
	}
	switch err := checkNetwork(addr.Network); {
	case err != nil:
		return tunnel.Target{}, err
	case addr.Network == "unix" && !strings.HasPrefix(addr.Host, "/"):
		return tunnel.Target{}, errors.New("not an absolute path on the bastion; write unix//path")
	case addr.Network == "unix":
	case addr.PortRangeSize() != 1:
		return tunnel.Target{}, errors.New("a range of ports; give each upstream one port")
	case addr.StartPort == 0:
		return tunnel.Target{}, errors.New("no port; write host:port")
	}
	return targetAt(addr.Network, addr.JoinHostPort(0))
}

// checkNetwork refuses the networks of upstreams that no tunnel leads to.
func checkNetwork(network string) error {
	switch network {
	case "", "tcp", "unix":
		return nil
	}
	return fmt.Errorf("network %q does not go through a tunnel; use host:port or unix//path", network)
}

// checkHealthChecks refuses active health checks whose own address or port may
// not be dialed.
func checkHealthChecks(h *reverseproxy.Handler, tun dialer.Permitter) error {
	if h.HealthChecks == nil || h.HealthChecks.Active == nil {
		return nil
	}
	active := h.HealthChecks.Active
	if target, err := UpstreamTarget(active.Upstream); err == nil && !strings.Contains(active.Upstream, "{") {
		if err := dialer.CheckPermitted(tun, target); err != nil {
			return fmt.Errorf("health_upstream: %w", err)
		}
	}
	if active.Upstream != "" || active.Port == 0 {
		return nil
	}
	for _, u := range h.Upstreams {
		target, err := UpstreamTarget(u.Dial)
		if err != nil || target.Network == "unix" {
			continue // it has placeholders, or no port
		}
		host, _, _ := net.SplitHostPort(target.Address) // it has both
		target.Address = net.JoinHostPort(host, strconv.Itoa(active.Port))
		if err := dialer.CheckPermitted(tun, target); err != nil {
			return fmt.Errorf("health_port: %w", err)
		}
	}
	return nil
}

// checkSource refuses dynamic upstreams that clients may choose.
func checkSource(raw json.RawMessage) error {
	var source any
	if err := json.Unmarshal(raw, &source); err != nil {
		return err
	}
	if s, ok := findString(source, func(s string) bool { return strings.Contains(s, "{") }); ok {
		return fmt.Errorf("%q: %w", s, errPlaceholder)
	}
	var err error
	WalkObjects(source, func(options map[string]any) {
		switch name := options["source"]; name {
		case nil, "a", "srv", "ssh_tunnel", "multi": // they look up what is in their options
		default:
			err = fmt.Errorf("the source %q is none of ssh_tunnel, a, srv and multi: it needs permit_open on the tunnel, to say where its upstreams may be", name)
		}
	})
	return err
}

// isSourceHere reports whether dynamic upstreams are looked up from this machine, some
// of them at least.
func isSourceHere(raw json.RawMessage) (is bool) {
	var source any
	_ = json.Unmarshal(raw, &source) // checkSource has
	WalkObjects(source, func(options map[string]any) {
		name := options["source"]
		is = is || name != nil && name != "multi" && name != "ssh_tunnel"
	})
	return is
}

// checkProxy refuses a network_proxy that clients may choose, as errPlaceholder
// does upstreams, and one that may not be dialed.
func checkProxy(t *reverseproxy.HTTPTransport, tun dialer.Permitter) error {
	var options map[string]any
	switch {
	case t.ForwardProxyURL != "":
		options = map[string]any{"from": "url", "url": t.ForwardProxyURL}
	case len(t.NetworkProxyRaw) == 0:
		return nil
	default:
		if err := json.Unmarshal(t.NetworkProxyRaw, &options); err != nil {
			return err
		}
	}
	switch from := options["from"]; {
	case from == "none":
		return nil
	case t.ProxyProtocol != "":
		return errors.New("proxy_protocol does not go together with it: the header would be about one client, and others share the connection to the proxy; leave one out")
	case tun.Restricts():
	case from != "url":
		return fmt.Errorf("the source %q is none of url and none: it needs permit_open on the tunnel, to say where the proxy may be", from)
	default:
		if s, ok := findString(options, dialer.ChosenByClient); ok {
			return fmt.Errorf("a client may choose the proxy by a placeholder in %q: that needs permit_open on the tunnel, to say where the proxy may be; add that, or use no placeholders but {env.*}, {file.*} and {system.*}", s)
		}
	}
	written, _ := options["url"].(string)
	if written == "" || strings.Contains(written, "{") {
		return nil
	}
	u, err := url.Parse(written)
	if err != nil {
		return errors.New("not a URL; write <scheme>://<host>:<port>") // it may have a password
	}
	target, err := ProxyTarget(u)
	if err != nil {
		return err
	}
	return dialer.CheckPermitted(tun, target)
}

// renameUpstreams gives each static upstream a network of the tunnel's own:
// 127.0.0.1:80 is another server behind each tunnel. It is to be called before the
// handler has looked its upstreams up.
func renameUpstreams(h *reverseproxy.Handler, tunnelName string) {
	for _, u := range h.Upstreams {
		network, rest := splitUpstream(u.Dial)
		u.Dial = contract.NameUpstream(network, rest, tunnelName)
	}
}

// splitUpstream splits an upstream into its network, "" if none is written, and
// the rest. A network is written out: no placeholder can become one, nor have a
// slash taken for the end of one.
func splitUpstream(dial string) (network, rest string) {
	network, rest, ok := strings.Cut(dial, "/")
	if !ok || strings.Contains(network, "{") {
		return "", dial
	}
	return strings.ToLower(strings.TrimSpace(network)), rest
}
