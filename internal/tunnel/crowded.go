package tunnel

import (
	"context"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// crowded.go is about opens that fail for a reason that may be the connection's.
// sshd says "open failed" when it has no more files, as well as of a Unix socket
// that is not there. What tells them apart is another connection: one that opens what
// the first did not shows that the first is full.

const (
	// fewChannels is how many channels a connection takes at least.
	fewChannels = 16
	// cappedFor is how long it takes no more than it had when the bastion
	// refused one: that may have had another reason, which is over.
	cappedFor = 5 * time.Minute
)

// dialElsewhere opens a channel on another connection than one that has just
// refused it. Another connection is added for it only if the target is known to
// work: no target that fails, and be it asked for ever so often, adds any.
func (p *pool) dialElsewhere(ctx context.Context, r *openRequest, m *member, refused *failure.OpenError) (*Conn, error) {
	w := p.placement(r, false)
	p.mu.Lock()
	channels := m.channels
	w.not, w.line.elsewhere, w.known = m, true, p.works(r)
	p.mu.Unlock()
	if channels < fewChannels {
		return nil, refused
	}
	soon, cancel := context.WithTimeout(ctx, streamPatience)
	next, err := p.pick(soon, w)
	cancel()
	if err != nil {
		return nil, refused
	}
	c, err := p.openOn(ctx, next, r, false)
	if err != nil {
		return nil, refused
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m.limit, m.cappedAt = max(fewChannels, min(len(m.conns), m.limit)), time.Now()
	return c, nil
}

// works reports whether there is an open channel to the target. The caller holds mu.
func (p *pool) works(r *openRequest) bool {
	for _, m := range p.members {
		for c := range m.conns {
			if addr := c.RemoteAddr(); addr.Network() == r.RemoteAddr().Network() && addr.String() == r.RemoteAddr().String() {
				return true
			}
		}
	}
	return false
}
