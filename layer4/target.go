package layer4

// target.go contains targets that differ by connection.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// checkTemplate checks a target with placeholders that a client may choose, as well as
// that can be done without a client.
func checkTemplate(template string, tun dialer.Permitter) error {
	if err := redact.Check(caddy.NewReplacer().ReplaceKnown(template, "")); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if !tun.Restricts() {
		return fmt.Errorf("target %q: a target with placeholders needs permit_open on its tunnel, to say where it may lead; add that, or write the target out", template)
	}
	if network := networkOf(template); network != "" && network != "unix" {
		return fmt.Errorf("target %q: network %q does not go through a tunnel; use host:port or unix//path", template, network)
	}
	_, err := caddy.NewReplacer().ReplaceFunc(template, func(key string, value any) (any, error) {
		switch {
		case strings.HasPrefix(key, "l4."):
		case value == nil:
			return nil, fmt.Errorf("unknown placeholder {%s}; those of layer4 begin with l4., such as {l4.tls.server_name}", key)
		case caddy.ToString(value) == "":
			return nil, fmt.Errorf("placeholder {%s} is empty; set it", key)
		}
		return value, nil
	})
	if err != nil {
		return fmt.Errorf("target %q: %w", template, err)
	}
	return nil
}

// resolveTemplate returns the target for a connection whose placeholders repl has.
func resolveTemplate(template string, repl *caddy.Replacer) (tunnel.Target, error) {
	address, err := repl.ReplaceOrErr(template, true, true)
	if err != nil {
		return tunnel.Target{}, fmt.Errorf("target %q: %w", template, err)
	}
	target, err := hostport.ParseTarget(address, hostport.Bastion)
	if err != nil {
		return tunnel.Target{}, err
	}
	if (target.Network == "unix") != (networkOf(template) == "unix") {
		return tunnel.Target{}, fmt.Errorf("target %q: %w", address, errNetwork)
	}
	target.ByClient = true
	return target, nil
}

// errNetwork is why a client's target is not dialed: no client chooses a socket where the
// configuration has a host.
var errNetwork = errors.New("a placeholder cannot say that the target is a socket; write unix/ before it")

// networkOf returns the network that a target begins with, "" if none is written.
func networkOf(template string) string {
	network, _, ok := strings.Cut(template, "/")
	if !ok || strings.Contains(network, "{") {
		return ""
	}
	return network
}
