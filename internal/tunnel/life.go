package tunnel

import (
	"context"
	"slices"
	"time"
)

// life is that of a pool: held while a handle or a dial has it, then idle until its
// last channel has ended and Linger has passed, and ended at drainAt at the latest.
type life struct {
	// ctx ends when the pool does.
	ctx context.Context
	end context.CancelFunc
	// refs is guarded by registry.mu, the rest by pool.mu.
	refs int
	// held says that somebody holds the pool. From the last hold on, idle and drain
	// end it, the latter at drainAt, which the last handle's Close sets.
	held        bool
	idle, drain *time.Timer
	drainAt     time.Time
}

// revive takes a pool up again that somebody holds.
func (p *pool) revive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
	for _, t := range []*time.Timer{p.idle, p.drain} {
		if t != nil {
			t.Stop()
		}
	}
	p.idle, p.drain = nil, nil
}

// retire lets a pool go that nobody holds.
func (p *pool) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	if p.drainAt.IsZero() {
		p.drainAt = time.Now().Add(p.set.DrainTimeout)
	}
	p.drain = time.AfterFunc(time.Until(p.drainAt), p.finish)
	p.lingerIfIdle()
}

// lingerIfIdle ends a pool that nobody holds and that has no live channel, in a
// while. The caller holds mu.
func (p *pool) lingerIfIdle() {
	if p.held || p.idle != nil {
		return
	}
	wait := p.set.Linger
	if len(p.members) == 0 {
		wait = 0
	}
	for _, l := range p.members {
		if l.live() > 0 {
			return
		}
	}
	p.idle = time.AfterFunc(wait, func() {
		if pools.remove(p, p.stillIdle) {
			p.shutDown()
		}
	})
}

// stillIdle reports whether the pool has no live channel, when idle has fired.
func (p *pool) stillIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = nil
	return !slices.ContainsFunc(p.members, func(m *member) bool { return m.live() > 0 })
}

// finish ends a pool for good, channels or not, unless somebody has taken a
// hold on it.
func (p *pool) finish() {
	if pools.remove(p, func() bool { return true }) {
		p.shutDown()
	}
}

// shutDown ends a pool that was removed from the registry.
func (p *pool) shutDown() {
	p.mu.Lock()
	if p.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	p.end()
	links := slices.Clone(p.members)
	for _, l := range links {
		l.enter(memberClosed)
	}
	if p.drain != nil {
		p.drain.Stop()
	}
	connected := len(p.present()) > 0
	p.broadcast()
	p.mu.Unlock()

	if connected {
		p.log().Info("tunnel closed")
	}
	for _, l := range links {
		l.client.Close(ErrClosed)
	}
	if p.jump != nil {
		p.jump.Close()
	}
	p.connector.Close()
	p.counters.Put()
}
