// Command caddy is Caddy with its standard modules and this plugin, for those
// who build it without xcaddy:
//
//	go build ./cmd/caddy
//	./caddy run --config example.Caddyfile
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel"
)

func main() { caddycmd.Main() }
