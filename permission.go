package sshtunnel

// permission.go contains permit_open: which targets may be dialed through a
// tunnel. It belongs to a configuration, and not to the tunnel's connections,
// which several configurations may share.

import (
	"fmt"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/permit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// permitter knows which targets may be dialed.
type permitter interface {
	// restricts tells whether there is any target that may not be dialed.
	restricts() bool

	// permit returns the target as it is to be dialed, or a
	// *permit.DeniedError.
	permit(target tunnel.Target) (tunnel.Target, error)
}

// permission is a tunnel's permit_open. Its zero value permits every target.
type permission struct {
	tunnel string
	list   permit.List
}

// newPermission returns the permission to dial what one of the patterns
// matches, or anything if there are none.
func newPermission(tunnelName string, patterns []string) (permission, error) {
	list, err := permit.Parse(patterns)
	return permission{tunnelName, list}, err
}

// restricts implements permitter.
func (p permission) restricts() bool { return p.list.Restricts() }

// permit implements permitter.
func (p permission) permit(target tunnel.Target) (tunnel.Target, error) {
	address, ok := p.list.Permit(target.Network, target.Address)
	if !ok {
		return tunnel.Target{}, permit.Deny(p.tunnel, target.Network, target.Address)
	}
	target.Address = address
	return target, nil
}

// checkPermitted refuses a target that is written in the configuration and
// could never be dialed.
func checkPermitted(p permitter, target tunnel.Target) error {
	if _, err := p.permit(target); err != nil {
		return fmt.Errorf("%w; add it there", err)
	}
	return nil
}

// Interface guards
var _ permitter = permission{}
