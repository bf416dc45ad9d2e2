package transport

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// UnmarshalCaddyfile sets up the transport from Caddyfile tokens. Syntax:
//
//	transport ssh_tunnel <tunnel> {
//		<options of the http transport>
//	}
//
// The options are those of Caddy's http transport, without resolvers,
// local_address, dial_fallback_delay, keepalive_interval and versions 3.
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the transport's name
	if !d.NextArg() {
		return d.Err("no tunnel given; usage: transport ssh_tunnel <tunnel>")
	}
	t.TunnelName = d.Val()
	if err := dialer.CheckName(t.TunnelName); err != nil {
		return d.WrapErr(err)
	}
	if d.NextArg() {
		return d.Errf("unexpected %s after the tunnel's name; usage: transport ssh_tunnel <tunnel>", redact.Quote(d.Val()))
	}
	// The http transport would let the last of two win.
	given := make(map[string]bool)
	var words []string
	for d.NextBlock(0) {
		if given[d.Val()] {
			return d.Errf("option %s is given twice", redact.Quote(d.Val()))
		}
		given[d.Val()] = true
		for _, token := range d.NextSegment() {
			words = append(words, token.Text)
		}
	}

	// Without the tunnel's name it is the http transport's own syntax.
	d.Reset()
	d.Next()
	d.NextArg()
	d.Delete()
	d.Reset()
	if err := t.HTTPTransport.UnmarshalCaddyfile(d); err != nil {
		return redact.Misplaced(words, err)
	}
	if err := checkOptions(t.HTTPTransport); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
