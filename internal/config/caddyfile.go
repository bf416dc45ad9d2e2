package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// UnmarshalCaddyfile adds the tunnels of a block to the app. Syntax:
//
//	ssh_tunnel {
//		grace_period <duration>
//		tunnel <name> [[<user>@]<host>[:<port>]] {
//			<options of the tunnel>
//		}
//	}
//
// An address with placeholders is taken apart when the configuration is loaded,
// which replaces them.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the option's name
	if d.NextArg() {
		return d.Errf("ssh_tunnel takes no argument; got %s: write ssh_tunnel { tunnel <name> [<user>@]<host>[:<port>] }", redact.Quote(d.Val()))
	}
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "tunnel":
			err = a.unmarshalTunnel(d)
		case "grace_period":
			err = a.unmarshalGracePeriod(d)
		default:
			err = d.Errf("unknown option %s of ssh_tunnel; it takes tunnel <name> [[<user>@]<host>[:<port>]] { ... } and grace_period <duration>", redact.Quote(d.Val()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unmarshalGracePeriod reads the option that d stands at.
func (a *App) unmarshalGracePeriod(d *caddyfile.Dispenser) (err error) {
	args := d.RemainingArgs()
	if len(args) != 1 {
		return d.Err("usage: grace_period <duration>")
	}
	if a.GracePeriod != nil {
		return d.Err("grace_period is written twice; keep one")
	}
	if a.GracePeriod, err = durationOrZero(args[0]); err != nil {
		return d.Errf("grace_period: %w", err)
	}
	return nil
}

// unmarshalTunnel adds the tunnel that d stands at.
func (a *App) unmarshalTunnel(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Err("usage: tunnel <name> [[<user>@]<host>[:<port>]]")
	}
	name := args[0]
	if err := checkTunnelName(name); err != nil {
		return d.WrapErr(err)
	}
	if a.Tunnels[name] != nil {
		return d.Errf("tunnel %q is configured twice", name)
	}

	t := new(Tunnel)
	seen := make(map[string]int) // the line of each option that may stand once
	if len(args) == 2 {
		if err := t.addHost(args[1]); err != nil {
			return d.Errf("tunnel %q: %w", name, redact.Misplaced(args, err))
		}
		seen["host"] = d.Line()
		if t.User != "" {
			seen["user"] = d.Line()
		}
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := t.unmarshalOption(d, TunnelOptions, seen); err != nil {
			return d.Errf("tunnel %q: %w", name, err)
		}
	}

	if a.Tunnels == nil {
		a.Tunnels = make(map[string]*Tunnel)
	}
	a.Tunnels[name] = t
	return nil
}

// unmarshalOption reads the option that d stands at, and its block.
func (t *Tunnel) unmarshalOption(d *caddyfile.Dispenser, options map[string]Option, seen map[string]int) error {
	name := d.Val()
	opt, ok := options[name]
	if !ok {
		return UnknownOption(name, slices.Sorted(maps.Keys(options)))
	}
	if line, ok := seen[name]; ok && !opt.repeats {
		return fmt.Errorf("%s is already written on line %d; it may be written once", name, line)
	}
	seen[name] = d.Line()

	args := d.RemainingArgs()
	if slices.Contains(args, "") {
		// An empty value would be as good as none, and nobody would notice.
		return fmt.Errorf("%s: an empty argument; remove the option, or write its value", name)
	}
	if len(args) < opt.least || opt.most > 0 && len(args) > opt.most {
		// What was written is not shown: it may be a secret.
		return fmt.Errorf("usage: %s", strings.TrimSpace(name+" "+opt.Usage))
	}
	if err := opt.set(t, args); err != nil {
		return fmt.Errorf("%s: %w", name, redact.Misplaced(args, err))
	}
	seenWithin := make(map[string]int)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if opt.Block == nil {
			return fmt.Errorf("%s takes no block", name)
		}
		if err := t.unmarshalOption(d, opt.Block, seenWithin); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// maxOptionName is longer than the name of any option.
const maxOptionName = 40

// UnknownOption is the error for a name that is no option's. It points to the
// one that was meant where that is written as in ssh_config(5), or as in JSON.
func UnknownOption(name string, options []string) error {
	plain := func(s string) string {
		return strings.TrimSuffix(strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)), "s")
	}
	for _, known := range options {
		if plain(known) == plain(name) {
			return fmt.Errorf("unknown option %q; did you mean %s", name, known)
		}
	}
	if strings.Trim(plain(name), "abcdefghijklmnopqrstuvwxyz") != "" || len(name) > maxOptionName {
		// A value that stands on a line of its own, perhaps.
		return errors.New("the text there is no option; it is not shown, since it may be a secret")
	}
	if len(options) > 10 { // a tunnel's: the line that comes after them would not be seen
		return fmt.Errorf("unknown option %q", name)
	}
	return fmt.Errorf("unknown option %q; one of %s", name, strings.Join(options, ", "))
}
