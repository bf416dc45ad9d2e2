package sshtunnel

// caddyfile_listener.go contains the listener wrapper's Caddyfile syntax.

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// UnmarshalCaddyfile sets up the listener wrapper from Caddyfile tokens. Syntax:
//
//	ssh_tunnel <tunnel> <target> {
//		match             <matcher> <arguments...>
//		proxy_protocol    v1|v2
//		idle_timeout      <duration>
//		max_connections   <n>
//	}
//
// match takes what a TLS connection policy does, in a block if there are
// several matchers.
func (w *ListenerWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the wrapper's name
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("wrong number of arguments (%d); usage: ssh_tunnel <tunnel> <target>", len(args))
	}
	w.TunnelName, w.Target = args[0], args[1]
	if err := checkStaticName(w.TunnelName); err != nil {
		return d.WrapErr(err)
	}
	seen := make(map[string]int) // the line of each option
	for d.NextBlock(0) {
		if err := w.unmarshalOption(d, seen); err != nil {
			return d.Errf("listener wrapper ssh_tunnel: %w", err)
		}
	}
	return nil
}

// unmarshalOption reads the option that d stands at.
func (w *ListenerWrapper) unmarshalOption(d *caddyfile.Dispenser, seen map[string]int) (err error) {
	name := d.Val()
	if line, ok := seen[name]; ok {
		return fmt.Errorf("%s is already written on line %d; it may be written once", name, line)
	}
	seen[name] = d.Line()

	if name == "match" {
		w.MatchersRaw, err = caddytls.ParseCaddyfileNestedMatcherSet(d)
		if err == nil && len(w.MatchersRaw) == 0 {
			return errors.New("usage: match <matcher> <arguments...>, as in match sni git.example.com")
		}
		return err
	}
	opt, ok := forwardOptions[name]
	if !ok {
		return unknownOption(name, append(slices.Sorted(maps.Keys(forwardOptions)), "match"))
	}
	args := d.RemainingArgs()
	if len(args) != 1 {
		return fmt.Errorf("usage: %s %s", name, opt.usage)
	}
	if err := opt.set(&w.ForwardOptions, args[0]); err != nil {
		return fmt.Errorf("%s: %w", name, misplaced(args, err))
	}
	if d.NextBlock(d.Nesting()) {
		return fmt.Errorf("%s takes no block", name)
	}
	return nil
}
