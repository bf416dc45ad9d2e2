package tunnel

import (
	"errors"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// prohibited.go is about what the bastion prohibits. sshd reads its configuration,
// the options of a key and the groups of the user as a connection begins. After a
// change there a connection goes on being refused, which may be months old. So the
// error says how to make a new one, and the status shows it for as long as the
// connection lasts.

// noteProhibited records on a connection that the bastion prohibited something.
func (p *pool) noteProhibited(m *member, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.prohibited = &ErrorStatus{time.Now(), m.host.Address, failure.CauseProhibited, err.Error()}
}

// isProhibited reports whether an open was refused for a setting of the bastion.
func isProhibited(err error) bool {
	refused, ok := errors.AsType[*failure.OpenError](err)
	return ok && refused.Reason == failure.OpenProhibited
}
