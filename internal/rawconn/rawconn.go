// Package rawconn contains what the modules have in common that forward raw connections to
// one target behind a bastion: the listener wrapper, and the handler for caddy-l4 in the Go
// module layer4. It listens nowhere and dials nothing. Those two and the app import it.
package rawconn

import (
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Open are the raw connections of the process. They outlive their configuration. The
// app ends them when the process exits.
var Open = new(forward.Registry)

// counts are the counts of all listeners and handlers, by Key. A reload provisions the
// new one before it closes the old one, so the count stays.
var counts = caddy.NewUsagePool()

// Key identifies a listener or handler over time.
type Key struct {
	// Network and Address are those of the listener; empty for a handler, which does not
	// know its listeners.
	Network, Address string
	// Tunnel is the tunnel's name.
	Tunnel string
	// Target is the target. If clients choose it, its address is what is written.
	Target tunnel.Target
}

// pooledCount is a count in the pool.
type pooledCount struct{ forward.Count }

// Destruct implements caddy.Destructor. Connections go on without their listener, and
// count to the end.
func (*pooledCount) Destruct() error { return nil }

// CountFor returns the count of the connections that a listener or handler forwards to
// a target. Call release, as often as you like, when the listener is closed.
func CountFor(key Key) (count *forward.Count, release func()) {
	pooled, _, _ := counts.LoadOrNew(key, func() (caddy.Destructor, error) { return new(pooledCount), nil })
	release = sync.OnceFunc(func() { _, _ = counts.Delete(key) })
	return &pooled.(*pooledCount).Count, release
}

// Target returns a target as the configuration writes it, with its placeholders replaced. It
// is an error if the tunnel does not permit it.
func Target(written string, tun dialer.Permitter) (tunnel.Target, error) {
	target, err := config.ResolveTarget(written)
	if err == nil {
		err = dialer.CheckPermitted(tun, target)
	}
	return target, err
}

// UnmarshalCaddyfile reads this and returns its arguments:
//
//	ssh_tunnel <tunnel> <target> {
//		<option> <arguments...>
//	}
//
// It calls option for each option, which d then stands at. Each may be written once.
// Errors call the module what.
func UnmarshalCaddyfile(d *caddyfile.Dispenser, what string, option func(name string) error) (tunnelName, target string, err error) {
	d.Next() // the module's name
	args := d.RemainingArgs()
	if len(args) != 2 {
		return "", "", d.Errf("wrong number of arguments (%d); usage: ssh_tunnel <tunnel> <target>", len(args))
	}
	if err := dialer.CheckName(args[0]); err != nil {
		return "", "", d.WrapErr(err)
	}
	seen := make(map[string]int) // the line of each option
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if line, ok := seen[name]; ok {
			err = fmt.Errorf("%s is already written on line %d; it may be written once", name, line)
		} else {
			seen[name] = d.Line()
			err = option(name)
		}
		if err != nil {
			return "", "", d.Errf("%s: %w", what, err)
		}
	}
	return args[0], args[1], nil
}
