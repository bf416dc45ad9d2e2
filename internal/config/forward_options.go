package config

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// ForwardOptions say how raw connections are forwarded to a target.
type ForwardOptions struct {
	// The version of the PROXY protocol, `v1` or `v2`, in which Caddy sends the
	// target the client's address. Default: none, Caddy does not send it.
	ProxyProtocol string `json:"proxy_protocol,omitempty"`

	// How long a connection may have no data in either direction before Caddy closes
	// it, such as `1h`. Default: no limit.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// How many connections may be open at a time. Caddy refuses further ones.
	// Default: any number.
	MaxConnections int `json:"max_connections,omitempty"`
}

// RawOptions are these options by name, as a Caddyfile has them.
var RawOptions = map[string]struct {
	Usage string
	Set   func(o *ForwardOptions, arg string) error
}{
	"proxy_protocol": {"v1|v2", func(o *ForwardOptions, arg string) error {
		o.ProxyProtocol = arg
		return checkProxyProtocol(arg)
	}},
	"idle_timeout": {"<duration>", func(o *ForwardOptions, arg string) (err error) {
		o.IdleTimeout, err = positiveDuration(arg)
		return err
	}},
	"max_connections": {"<n>", func(o *ForwardOptions, arg string) (err error) {
		o.MaxConnections, err = positive(arg)
		return err
	}},
}

// UnmarshalOption reads one of RawOptions, which d stands at, in a block that has others as
// well.
func (o *ForwardOptions) UnmarshalOption(d *caddyfile.Dispenser, others ...string) error {
	name := d.Val()
	opt, ok := RawOptions[name]
	if !ok {
		return UnknownOption(name, append(slices.Sorted(maps.Keys(RawOptions)), others...))
	}
	args := d.RemainingArgs()
	if len(args) != 1 {
		return fmt.Errorf("usage: %s %s", name, opt.Usage)
	}
	if err := opt.Set(o, args[0]); err != nil {
		return fmt.Errorf("%s: %w", name, redact.Misplaced(args, err))
	}
	if d.NextBlock(d.Nesting()) {
		return fmt.Errorf("%s takes no block", name)
	}
	return nil
}

// Check checks the options, as they may be in JSON.
func (o *ForwardOptions) Check() error {
	r := new(resolver)
	if o.ProxyProtocol != "" {
		r.fail("proxy_protocol", checkProxyProtocol(o.ProxyProtocol))
	}
	r.duration("idle_timeout", o.IdleTimeout)
	if o.MaxConnections < 0 {
		r.fail("max_connections", fmt.Errorf("%d is negative", o.MaxConnections))
	}
	return r.err
}

// Apply sets the options of a forwarder.
func (o *ForwardOptions) Apply(f *forward.Forwarder) {
	f.ProxyProtocol = o.ProxyProtocol
	f.IdleTimeout = time.Duration(o.IdleTimeout)
	f.MaxConnections = o.MaxConnections
}

func checkProxyProtocol(version string) error {
	if version != "v1" && version != "v2" {
		return fmt.Errorf("%q is neither v1 nor v2", version)
	}
	return nil
}
