package sshtunnel

// transport_upstreams.go checks the upstreams of a reverse proxy, and tells
// those behind one tunnel from those behind another.

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// upstreamNetwork begins the network of a tcp upstream behind a tunnel.
const upstreamNetwork = "ssh_tunnel"

// checkUpstreams refuses upstreams that no tunnel leads to, and those that may
// not be dialed through this one.
func checkUpstreams(h *reverseproxy.Handler, tun permitter) error {
	for _, u := range h.Upstreams {
		if err := redact.Check(caddy.NewReplacer().ReplaceKnown(u.Dial, "")); err != nil {
			return fmt.Errorf("upstream: %w", err)
		}
		if err := checkUpstream(u.Dial, tun); err != nil {
			return fmt.Errorf("upstream %q: %w", u.Dial, err)
		}
	}
	if h.DynamicUpstreamsRaw != nil && !tun.restricts() {
		var source any
		if err := json.Unmarshal(h.DynamicUpstreamsRaw, &source); err != nil {
			return fmt.Errorf("dynamic upstreams: %w", err)
		}
		if s, ok := findPlaceholder(source); ok {
			return fmt.Errorf("dynamic upstreams: %q: %w", s, errPlaceholder)
		}
	}
	return checkHealthChecks(h, tun)
}

// errPlaceholder is why a client must not choose the upstream: everything that
// the bastion reaches would be open to it.
var errPlaceholder = errors.New("an upstream with placeholders needs permit_open on its tunnel, to say where it may lead; add that, or write the upstreams out")

// checkUpstream checks an upstream. Where one with placeholders leads is
// checked when it is dialed.
func checkUpstream(dial string, tun permitter) error {
	if strings.Contains(dial, "{") {
		if !tun.restricts() {
			return errPlaceholder
		}
		network, _ := splitUpstream(dial)
		return checkNetwork(network)
	}
	target, err := upstreamTarget(dial)
	if err != nil {
		return err
	}
	return checkPermitted(tun, target)
}

// upstreamTarget returns where an upstream without placeholders leads.
func upstreamTarget(dial string) (tunnel.Target, error) {
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
	return new(errand).targetAt(addr.Network, addr.JoinHostPort(0))
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
func checkHealthChecks(h *reverseproxy.Handler, tun permitter) error {
	if h.HealthChecks == nil || h.HealthChecks.Active == nil {
		return nil
	}
	active := h.HealthChecks.Active
	if target, err := upstreamTarget(active.Upstream); err == nil && !strings.Contains(active.Upstream, "{") {
		if err := checkPermitted(tun, target); err != nil {
			return fmt.Errorf("health_upstream: %w", err)
		}
	}
	if active.Upstream != "" || active.Port == 0 {
		return nil
	}
	for _, u := range h.Upstreams {
		target, err := upstreamTarget(u.Dial)
		if err != nil || target.Network == "unix" {
			continue // it has placeholders, or no port
		}
		host, _, _ := net.SplitHostPort(target.Address) // it has both
		target.Address = net.JoinHostPort(host, strconv.Itoa(active.Port))
		if err := checkPermitted(tun, target); err != nil {
			return fmt.Errorf("health_port: %w", err)
		}
	}
	return nil
}

// checkProxy refuses a network_proxy that clients choose, as errPlaceholder
// does upstreams. Placeholders that are about no request, as in
// http://{env.USER}:{env.PASSWORD}@proxy:3128, may stand in it.
func checkProxy(t *reverseproxy.HTTPTransport, tun permitter) error {
	if !tun.restricts() && strings.Contains(string(t.NetworkProxyRaw)+t.ForwardProxyURL, "{http.") {
		return errors.New("a network_proxy with placeholders of the request needs permit_open on its tunnel, to say where it may lead; add that, or write the proxy out")
	}
	return nil
}

// findPlaceholder returns a string with a placeholder in a JSON value.
func findPlaceholder(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, strings.Contains(v, "{")
	case []any:
		for _, e := range v {
			if s, ok := findPlaceholder(e); ok {
				return s, true
			}
		}
	case map[string]any:
		for _, e := range v {
			if s, ok := findPlaceholder(e); ok {
				return s, true
			}
		}
	}
	return "", false
}

// renameUpstreams gives each static upstream a network of the tunnel's own.
// Caddy keeps the passive health of all upstreams of the process by this
// string, and 127.0.0.1:80 is another server behind each tunnel. It is to be
// called before the handler has looked its upstreams up.
func renameUpstreams(h *reverseproxy.Handler, tunnelName string) {
	for _, u := range h.Upstreams {
		network, rest := splitUpstream(u.Dial)
		u.Dial = ownNetwork(network, tunnelName) + "/" + rest
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

// ownNetwork returns the network of upstreams behind a tunnel. That of a socket
// still begins with "unix", by which Caddy knows that it has no port.
func ownNetwork(network, tunnelName string) string {
	own := upstreamNetwork + "+" + tunnelName
	if caddy.IsUnixNetwork(network) {
		own = "unix+" + own
	}
	return own
}
