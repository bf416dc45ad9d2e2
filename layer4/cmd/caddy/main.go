// Command caddy is Caddy with its standard modules, this plugin and caddy-l4, for those
// who build it without xcaddy. In the directory layer4:
//
//	go build ./cmd/caddy
//	./caddy run --config ../examples/layer4/one-port.Caddyfile
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/layer4"
)

func main() { caddycmd.Main() }
