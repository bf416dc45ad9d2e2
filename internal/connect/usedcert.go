package connect

import (
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// UsedCertificate is a certificate that a connection was let in with.
type UsedCertificate struct {
	// KeyID is the name that its authority has given it.
	KeyID string `json:"key_id"`
	// Path is its file, or "" if the agent holds it.
	Path string `json:"path,omitempty"`
	// Expires is when it does, or nil for never.
	Expires *time.Time `json:"expires,omitempty"`
	// PermitsForwarding reports whether it has the extension
	// permit-port-forwarding. Without it, OpenSSH refuses every channel.
	PermitsForwarding bool `json:"permits_forwarding"`
}

func usedCertificates(certificates []sshauth.Certificate) (used []UsedCertificate) {
	for _, c := range certificates {
		u := UsedCertificate{KeyID: printable.Text(c.KeyId), Path: c.Path, PermitsForwarding: c.PermitsForwarding()}
		if end := algorithms.ValidUntil(c.Certificate); !end.IsZero() {
			u.Expires = &end
		}
		used = append(used, u)
	}
	return used
}
