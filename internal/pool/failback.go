package pool

import (
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
)

// failback.go returns a tunnel to a host that it prefers to the one in use.

// failbackState is how the tunnel stands with the hosts before the one in use.
//
//	off --another host in use--> watching --one answers--> returning
//	 ^                             |  ^                       |
//	 +--first in use, or lost------+  +--returned, or failed--+
type failbackState int

const (
	// failbackOff: watchPreferred does not run.
	failbackOff failbackState = iota
	// failbackWatching: watchPreferred runs, and probes the hosts before the one in
	// use.
	failbackWatching
	// failbackReturning: watchPreferred runs, and new connections, to a host that has
	// answered, replace the old ones.
	failbackReturning
)

// failback is the return to a preferred host. Pool.mu guards it.
type failback struct {
	state failbackState
	// inUse is the host that the last connection was to, or else the first: all
	// connections are to the same, except for those that are to be replaced.
	inUse *host
	// to is the host that connections are replaced for, in failbackReturning.
	to *host
}

// enter changes the state.
func (f *failback) enter(state failbackState, to *host) { f.state, f.to = state, to }

// arrived makes sure, after a takeover, that the tunnel returns to a host that
// it prefers to the one in use. The caller holds mu.
func (p *Pool) arrived() {
	if p.failback.state == failbackReturning && p.toReplace() == nil {
		p.failback.enter(failbackWatching, nil)
	}
	if p.failback.inUse.Rank > 0 && p.failback.state == failbackOff {
		p.failback.enter(failbackWatching, nil)
		go p.watchPreferred()
	}
}

// stay gives up a return, unless a part of the connections has returned: the
// rest is to follow it, however often that fails. The caller holds mu.
func (p *Pool) stay() {
	active := p.active()
	hasReturned := func(m *member) bool { return m.host == p.failback.to }
	if p.failback.state != failbackReturning || slices.ContainsFunc(active, hasReturned) {
		return
	}
	p.failback.enter(failbackWatching, nil)
	if len(active) == 0 {
		return
	}
	p.failback.inUse = active[len(active)-1].host // those that had returned may have been lost
	for _, l := range active {
		if l.host == p.failback.inUse {
			l.enter(memberActive) // what is due for another reason asks again
		} else {
			l.enter(memberReplacing)
		}
	}
	p.arrived()
}

// watchPreferred probes the hosts that come before the one in use, and has the
// tunnel return to one that has answered twice in a row. It returns when the
// first host is in use, when there is no connection, or when the pool has ended.
func (p *Pool) watchPreferred() {
	answers := make([]int, len(p.hosts))
	for {
		every := p.settings().ReturnAfter
		timer := time.NewTimer(every + time.Duration(rand.Float64()*float64(every)/4)) //nolint:gosec // no secret
		select {
		case <-timer.C:
		case <-p.ctx.Done():
			timer.Stop()
		}
		rank := p.preferredBefore()
		for i, h := range p.hosts[:rank] {
			if !p.mayReturn(h) || !p.answers(h) {
				answers[i] = 0
				continue
			}
			if answers[i]++; answers[i] >= 2 {
				clear(answers)
				p.returnTo(h)
				break
			}
		}
		if rank == 0 {
			return
		}
	}
}

// preferredBefore returns the rank of the host in use, or 0 if watchPreferred is
// no longer needed; then it does not run any more.
func (p *Pool) preferredBefore() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil || len(p.active()) == 0 || p.failback.inUse.Rank == 0 {
		p.failback.enter(failbackOff, nil)
		return 0
	}
	return p.failback.inUse.Rank
}

// mayReturn reports whether an attempt to connect to a host is due.
func (p *Pool) mayReturn(h *host) bool {
	l := h.loginWith(p.settings())
	due, refused := h.Limiter.Due(l, connlimit.Demand{})
	if refused && p.connector.FilesChanged(p.ctx, h.Host) {
		due, _ = h.Limiter.Due(l, connlimit.Demand{})
	}
	return !time.Now().Before(due)
}

// answers reports whether a host answers.
func (p *Pool) answers(h *host) bool {
	err := p.connector.Answers(p.ctx, h.Host)
	if err != nil {
		p.hostLog(h).Debug("a preferred host does not answer", zap.Error(err))
	}
	return err == nil
}

// returnTo has all connections replaced by connections to h.
func (p *Pool) returnTo(h *host) {
	if p.mayTakeBack(h) { // before what follows from it
		p.log().Info("a preferred host answers again; returning to it", zap.String("host", h.Address))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isBetter(h) {
		return
	}
	p.failback.enter(failbackReturning, h)
	for _, l := range p.serving() {
		if l.host != h {
			l.replace(reasonPreferred)
		} else {
			l.enter(memberActive)
		}
	}
	p.wake()
}

// mayTakeBack is isBetter for callers that do not hold mu.
func (p *Pool) mayTakeBack(h *host) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isBetter(h)
}

// isBetter reports whether there are connections that should be to h. The caller
// holds mu.
func (p *Pool) isBetter(h *host) bool {
	return p.held && len(p.active()) > 0 && p.failback.inUse.Rank > h.Rank
}
