package tunnel

import (
	"slices"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
)

// hostKeys returns which keys a host may have, and where the first is remembered.
func (e *entry) hostKeys(h *host) *hostkey.Config {
	keys := h.cfg.hostKeys()
	keys.Memory = e.memory()
	for j := e.jump; j != nil; j = j.jump {
		keys.Via = append(keys.Via, hostkey.KnownName(j.cfg.Address, j.cfg.HostKeyAlias))
	}
	slices.Reverse(keys.Via)
	return keys
}

// memory returns where the tunnel's host keys are remembered, or nil.
func (e *entry) memory() hostkey.Memory {
	if !e.cfg.AcceptNewHostKey {
		return nil
	}
	return e.settings().KeyMemory
}
