package tunnel

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// crowded.go is about opens that fail for a reason that may be the connection's.
// sshd says "open failed" when it has no more files, as well as of a Unix socket
// that is not there. What tells them apart is another connection: what fails there
// too is the target's fault. A connection takes no more channels than it has only
// if it did not open one that another one did, and has opened none since.

// maxExcused bounds the targets that a connection is excused for.
const maxExcused = 1024

// suspect is a connection that did not open a channel.
type suspect struct {
	link     *member
	channels int
	since    time.Time
}

// dialElsewhere opens a channel on another connection than one that has just
// refused it. Another connection is added for it only if the target is known to
// work: no target that fails, and be it asked for ever so often, adds any.
func (p *pool) dialElsewhere(ctx context.Context, r *openRequest, m *member, refused error) (*Conn, error) {
	var suspects []suspect
	for p.suspects(m, r) {
		suspects = append(suspects, p.suspect(m))
		next := p.pickOther(ctx, r, suspects)
		if next == nil {
			return nil, refused
		}
		c, err := p.openOn(ctx, next, r, false)
		if err == nil {
			p.limit(suspects)
			return c, nil
		}
		if again, ok := errors.AsType[*failure.OpenError](err); !ok || !again.Crowded {
			if errors.Is(err, sshconn.ErrLost) {
				err = refused
			}
			return nil, err
		}
		m = next
	}
	p.excuse(suspects, r)
	return nil, refused
}

// suspects reports whether it may be the connection's fault that it did not open a
// channel: it has many, and this target has not failed elsewhere as well.
func (p *pool) suspects(m *member, r *openRequest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, excused := m.excused[r.target.Address]
	return m.channels >= fewChannels && (!excused || time.Since(at) >= cappedFor)
}

func (p *pool) suspect(m *member) suspect {
	p.mu.Lock()
	defer p.mu.Unlock()
	return suspect{m, len(m.conns), time.Now()}
}

// pickOther returns a connection that is none of the suspects, or nil if there is
// none, nor one to be had soon.
func (p *pool) pickOther(ctx context.Context, r *openRequest, suspects []suspect) *member {
	w := p.placement(r, false)
	w.hasty, w.line.hasty, w.growNothing = true, true, !p.works(r)
	for _, s := range suspects {
		w.not = append(w.not, s.link)
	}
	ctx, cancel := context.WithTimeout(ctx, streamPatience)
	defer cancel()
	m, err := p.pick(ctx, w)
	if err != nil {
		return nil
	}
	return m
}

// works reports whether there is an open channel to the target.
func (p *pool) works(r *openRequest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		for c := range m.conns {
			if addr := c.RemoteAddr(); addr.Network() == r.RemoteAddr().Network() && addr.String() == r.RemoteAddr().String() {
				return true
			}
		}
	}
	return false
}

// limit has connections take no more channels than they had when they did not open
// one that another has opened since.
func (p *pool) limit(suspects []suspect) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range suspects {
		if !s.link.opened.After(s.since) {
			s.link.limit, s.link.cappedAt = max(s.channels, fewChannels), time.Now()
		}
	}
}

// excuse remembers that connections did not open a channel to a target which others
// did not either.
func (p *pool) excuse(suspects []suspect, r *openRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range suspects {
		if s.link.excused == nil || len(s.link.excused) >= maxExcused {
			s.link.excused = map[string]time.Time{}
		}
		maps.DeleteFunc(s.link.excused, func(_ string, at time.Time) bool { return time.Since(at) >= cappedFor })
		s.link.excused[r.target.Address] = time.Now()
	}
}
