package pool

import (
	"context"
	"slices"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// life is the lifetime of a pool. The pool is held while somebody uses it, then idle until
// its last channel has ended and Linger has passed. It ends at drainAt at the latest.
type life struct {
	// ctx ends when the pool does.
	ctx context.Context
	end context.CancelFunc
	// Pool.mu guards the rest.

	// held says that somebody holds the pool. From the last hold on, idle and drain
	// end it, the latter at drainAt, which the first Release after a Configure sets.
	held        bool
	idle, drain *time.Timer
	drainAt     time.Time
}

// Owner keeps a pool for those who use it. Its methods are called with no lock held.
type Owner interface {
	// Forget asks the owner to forget the pool, which nobody has used for long enough. It
	// reports whether it did: not if somebody holds the pool, or mayEnd, which it calls
	// while nobody can begin to, is false. A pool that was forgotten ends, and is not held
	// again.
	Forget(mayEnd func() bool) bool
	// Ended says that the pool that was forgotten has closed its connections.
	Ended()
}

// Hold says that somebody holds the pool. It does not end until Release.
func (p *Pool) Hold() {
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

// Release says that nobody holds the pool any more.
func (p *Pool) Release() {
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
func (p *Pool) lingerIfIdle() {
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
		if p.owner.Forget(p.stillIdle) {
			p.shutDown()
		}
	})
}

// stillIdle reports whether the pool has no live channel, when idle has fired.
func (p *Pool) stillIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = nil
	return !slices.ContainsFunc(p.members, func(m *member) bool { return m.live() > 0 })
}

// finish ends a pool for good, channels or not, unless somebody has taken a
// hold on it.
func (p *Pool) finish() {
	if p.owner.Forget(func() bool { return true }) {
		p.shutDown()
	}
}

// shutDown ends a pool that its owner has forgotten.
func (p *Pool) shutDown() {
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
		l.client.Close(failure.ErrClosed)
	}
	p.owner.Ended()
	p.connector.Close()
	p.counters.Put()
}
