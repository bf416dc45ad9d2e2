package sshtunnel

// caddyfile_listener.go contains the listener wrapper's Caddyfile syntax.

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the listener wrapper from Caddyfile tokens. Syntax:
//
//	ssh_tunnel <tunnel> <target>
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
	for d.NextBlock(0) {
		switch option := d.Val(); option {
		case "match", "proxy_protocol", "idle_timeout", "max_connections":
			return d.Errf("option %q of listener wrapper ssh_tunnel is not supported in this version", option)
		default:
			return d.Errf("unknown option %q of listener wrapper ssh_tunnel", option)
		}
	}
	return nil
}
