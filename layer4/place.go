package layer4

// place.go refuses the handler where it could not do its job.

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	l4 "github.com/mholt/caddy-l4/layer4"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
)

// checkPlace looks at the modules that a handler is within, the outermost first.
func checkPlace(around []caddy.Module) error {
	for _, module := range around {
		if app, ok := module.(*l4.App); ok {
			if err := checkServers(app); err != nil {
				return err
			}
		}
		if module.CaddyModule().ID == "layer4.handlers.tee" {
			return errors.New("a branch of tee shares the client's connection, which ssh_tunnel needs for itself; use ssh_tunnel after tee, outside of its branch")
		}
	}
	return nil
}

// checkServers refuses servers that would give UDP to the handler. A handler cannot see
// which server it is in. But while it is provisioned its route still has its
// configuration, so each server with such a handler is found in time.
func checkServers(app *l4.App) error {
	for name, server := range app.Servers {
		for _, written := range server.Listen {
			address, err := caddy.ParseNetworkAddress(caddy.NewReplacer().ReplaceAll(written, ""))
			if err == nil && isPacket(address.Network) && hasHandler(server) {
				return fmt.Errorf("server %q listens on %q: %w; move this address to a server without ssh_tunnel", name, written, errPacket)
			}
		}
	}
	return nil
}

// isPacket reports whether a network has packets rather than connections.
func isPacket(network string) bool {
	return strings.HasPrefix(network, "udp") || strings.HasPrefix(network, "ip") || network == "unixgram" || network == "fdgram"
}

// hasHandler reports whether a route of the server, or one within it, has the handler.
func hasHandler(server *l4.Server) (has bool) {
	for _, route := range server.Routes {
		for _, raw := range route.HandlersRaw {
			var handler any
			_ = json.Unmarshal(raw, &handler) // what is no JSON is not loaded
			transport.WalkObjects(handler, func(object map[string]any) {
				has = has || object["handler"] == "ssh_tunnel"
			})
		}
	}
	return has
}
