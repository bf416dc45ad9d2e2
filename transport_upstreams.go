package sshtunnel

// transport_upstreams.go checks the upstreams of a reverse proxy, and tells
// those behind one tunnel from those behind another.

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// upstreamNetwork begins the network of a tcp upstream behind a tunnel.
const upstreamNetwork = "ssh_tunnel"

// checkUpstreams refuses upstreams that no tunnel leads to.
func checkUpstreams(h *reverseproxy.Handler) error {
	for _, u := range h.Upstreams {
		if err := checkUpstream(u.Dial); err != nil {
			return fmt.Errorf("upstream %q: %w", u.Dial, err)
		}
	}
	if h.DynamicUpstreamsRaw != nil {
		var source any
		if err := json.Unmarshal(h.DynamicUpstreamsRaw, &source); err != nil {
			return fmt.Errorf("dynamic upstreams: %w", err)
		}
		if s, ok := findPlaceholder(source); ok {
			return fmt.Errorf("dynamic upstreams: %q: %w", s, errPlaceholder)
		}
	}
	return nil
}

// errPlaceholder is why a client must not choose the upstream: everything that
// the bastion reaches would be open to it.
var errPlaceholder = errors.New("an upstream with placeholders needs permit_open on its tunnel, which is not supported in this version; write the upstreams out")

func checkUpstream(dial string) error {
	if strings.Contains(dial, "{") {
		return errPlaceholder
	}
	addr, err := caddy.ParseNetworkAddress(dial)
	if err != nil {
		return err
	}
	switch {
	case addr.Network == "unix":
		if !strings.HasPrefix(addr.Host, "/") {
			return errors.New("not an absolute path on the bastion; write unix//path")
		}
	case addr.Network != "tcp":
		return fmt.Errorf("network %q does not go through a tunnel; use host:port or unix//path", addr.Network)
	case addr.PortRangeSize() != 1:
		return errors.New("a range of ports; give each upstream one port")
	case addr.StartPort == 0:
		return errors.New("no port; write host:port")
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
		network, host, port, err := caddy.SplitNetworkAddress(u.Dial)
		if err == nil {
			u.Dial = caddy.JoinNetworkAddress(ownNetwork(network, tunnelName), host, port)
		}
	}
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
