package transport

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// RefusedOptions are the options, by their Caddyfile and JSON names.
var RefusedOptions = []struct {
	Name, json, why string
	isSet           func(*reverseproxy.HTTPTransport) bool
}{
	{
		"resolvers", "resolver", "the bastion resolves the upstreams' names",
		func(t *reverseproxy.HTTPTransport) bool { return t.Resolver != nil },
	},
	{
		"local_address", "local_address", "the bastion connects to the upstreams, from its own address",
		func(t *reverseproxy.HTTPTransport) bool { return t.LocalAddress != "" },
	},
	{
		"dial_fallback_delay", "dial_fallback_delay", "the bastion chooses among an upstream's addresses",
		func(t *reverseproxy.HTTPTransport) bool { return t.FallbackDelay != 0 },
	},
	{
		"keepalive_interval", "keep_alive.probe_interval", "there is no TCP connection to probe; set server_alive_interval on the tunnel",
		func(t *reverseproxy.HTTPTransport) bool { return t.KeepAlive != nil && t.KeepAlive.ProbeInterval != 0 },
	},
	{
		"versions 3", "versions", "HTTP/3 needs UDP, which SSH does not forward; use 1.1, 2 or h2c",
		func(t *reverseproxy.HTTPTransport) bool { return slices.Contains(t.Versions, "3") },
	},
}

// checkOptions is to be called before t is provisioned, which sets defaults.
func checkOptions(t *reverseproxy.HTTPTransport) error {
	for _, o := range RefusedOptions {
		if o.isSet(t) {
			name := fmt.Sprintf("option %q", o.Name)
			if o.json != o.Name {
				name += fmt.Sprintf(" (%q in JSON)", o.json)
			}
			return fmt.Errorf("%s does not work through a tunnel: %s", name, o.why)
		}
	}
	switch t.ProxyProtocol {
	case "", "v1", "v2":
	default:
		return fmt.Errorf("unknown proxy_protocol %q; use v1 or v2", t.ProxyProtocol)
	}
	return nil
}
