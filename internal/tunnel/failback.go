package tunnel

import (
	"context"
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

// failback is the return to a preferred host. entry.mu guards it.
type failback struct {
	state failbackState
	// to is the host that connections are replaced for, in failbackReturning.
	to *host
}

// enter changes the state.
func (f *failback) enter(state failbackState, to *host) { f.state, f.to = state, to }

// arrived sees to it, after a takeover, that the tunnel returns to a host that
// it prefers to the one in use. The caller holds mu.
func (e *entry) arrived() {
	if e.failback.state == failbackReturning && e.toReplace() == nil {
		e.failback.enter(failbackWatching, nil)
	}
	if e.inUse.rank > 0 && e.failback.state == failbackOff {
		e.failback.enter(failbackWatching, nil)
		go e.watchPreferred()
	}
}

// stay gives up a return, unless a part of the connections has returned: the
// rest is to follow it, however often that fails. The caller holds mu.
func (e *entry) stay() {
	active := e.active()
	hasReturned := func(l *link) bool { return l.host == e.failback.to }
	if e.failback.state != failbackReturning || slices.ContainsFunc(active, hasReturned) {
		return
	}
	e.failback.enter(failbackWatching, nil)
	if len(active) == 0 {
		return
	}
	e.inUse = active[len(active)-1].host // those that had returned may have been lost
	for _, l := range active {
		l.replacing = l.host != e.inUse // what is due for another reason asks again
	}
	e.arrived()
}

// watchPreferred probes the hosts that come before the one in use, and has the
// tunnel return to one that has answered twice in a row. It returns when the
// first host is in use, when there is no connection, or when the entry has ended.
func (e *entry) watchPreferred() {
	answers := make([]int, len(e.hosts))
	for {
		every := e.settings().ReturnAfter
		timer := time.NewTimer(every + time.Duration(rand.Float64()*float64(every)/4)) //nolint:gosec // no secret
		select {
		case <-timer.C:
		case <-e.ctx.Done():
			timer.Stop()
		}
		rank := e.preferredBefore()
		for i, h := range e.hosts[:rank] {
			if !e.mayReturn(h) || !e.answers(h) {
				answers[i] = 0
				continue
			}
			if answers[i]++; answers[i] >= 2 {
				clear(answers)
				e.returnTo(h)
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
func (e *entry) preferredBefore() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil || len(e.active()) == 0 || e.inUse.rank == 0 {
		e.failback.enter(failbackOff, nil)
		return 0
	}
	return e.inUse.rank
}

// mayReturn tells whether an attempt to connect to a host is due.
func (e *entry) mayReturn(h *host) bool {
	l := h.loginWith(e.settings())
	due, refused := h.limiter.Due(l, connlimit.Demand{})
	if refused && h.limiter.FilesChanged(l, e.stamps(h)) {
		due, _ = h.limiter.Due(l, connlimit.Demand{})
	}
	return !time.Now().Before(due)
}

// answers tells whether a host can be connected to and sends an SSH banner. It
// logs in nowhere.
func (e *entry) answers(h *host) bool {
	ctx, cancel := context.WithTimeout(e.ctx, silence)
	defer cancel()
	a := e.approach(ctx, h, e.reach, e.awaitBanner)
	defer a.end()
	if a.err != nil {
		e.hostLog(h).Debug("a preferred host does not answer", zap.Error(a.err))
	}
	return a.err == nil
}

// returnTo has all connections replaced by connections to h.
func (e *entry) returnTo(h *host) {
	if e.mayTakeBack(h) { // before what follows from it
		e.log().Info("a preferred host answers again; returning to it", zap.String("host", h.cfg.Address))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.isBetter(h) {
		return
	}
	e.failback.enter(failbackReturning, h)
	for _, l := range e.serving() {
		if l.host != h {
			l.replacing, l.reason = true, reasonPreferred
		} else {
			l.replacing = false
		}
	}
	e.nudge()
}

// mayTakeBack is isBetter for callers that do not hold mu.
func (e *entry) mayTakeBack(h *host) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.isBetter(h)
}

// isBetter tells whether there are connections that should be to h. The caller
// holds mu.
func (e *entry) isBetter(h *host) bool {
	return e.held && len(e.active()) > 0 && e.inUse.rank > h.rank
}
