package dialer

// permission.go contains permit_open: which targets may be dialed through a
// tunnel. It belongs to a configuration, and not to the tunnel's connections,
// which several configurations may share.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/permit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Permitter knows which targets may be dialed.
type Permitter interface {
	// Restricts reports whether there is any target that may not be dialed.
	Restricts() bool

	// Permit returns the target as it is to be dialed, or a
	// *permit.DeniedError.
	Permit(target tunnel.Target) (tunnel.Target, error)
}

// Permission is a tunnel's permit_open. Its zero value permits every target.
type Permission struct {
	tunnel string
	list   permit.List
}

// NewPermission returns the permission to dial what one of the patterns
// matches, or anything if there are none.
func NewPermission(tunnelName string, patterns []string) (Permission, error) {
	list, err := permit.Parse(patterns)
	return Permission{tunnelName, list}, err
}

// Restricts implements Permitter.
func (p Permission) Restricts() bool { return p.list.Restricts() }

// Permit implements Permitter.
func (p Permission) Permit(target tunnel.Target) (tunnel.Target, error) {
	address, ok := p.list.Permit(target.Network, target.Address)
	if !ok {
		return tunnel.Target{}, permit.Deny(p.tunnel, target.Network, target.Address)
	}
	target.Address = address
	return target, nil
}

// OpenSSH returns the patterns as arguments of permitopen; see permit.List.OpenSSH.
func (p Permission) OpenSSH() (arguments, wider []string, all bool) { return p.list.OpenSSH() }

// CheckPermitted refuses a target that is written in the configuration and
// could never be dialed.
func CheckPermitted(p Permitter, target tunnel.Target) error {
	if _, err := p.Permit(target); err != nil {
		return fmt.Errorf("%w; add it there", err)
	}
	return nil
}

// ChosenByClient reports whether an address has placeholders that may be about a client.
// Caddy itself gives the others their values, which no handler can change.
func ChosenByClient(address string) bool {
	chosen := false
	_, err := caddy.NewEmptyReplacer().ReplaceFunc(address, func(key string, _ any) (any, error) {
		switch {
		case strings.HasPrefix(key, "env."), strings.HasPrefix(key, "file."):
		case slices.Contains([]string{"system.hostname", "system.slash", "system.os", "system.wd", "system.arch"}, key):
		default:
			chosen = true
		}
		return nil, nil
	})
	return chosen || err != nil
}
