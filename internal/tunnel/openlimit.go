package tunnel

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// openLimiter bounds the opens that a bastion has not answered yet, on the
// whole and for each target: to a share of the room that is left, so that
// however many targets do not answer, there is room for one that does. An open
// above the bound waits its turn, unless the target has not answered anything
// for a while in which the bastion was not silent itself: then it fails at once.
type openLimiter struct {
	// mu guards the fields below.
	mu      sync.Mutex
	total   int
	targets map[string]*pendingTarget
	// freed is closed, and replaced, when an open is answered.
	freed chan struct{}
}

// pendingTarget counts the unanswered opens to one target.
type pendingTarget struct {
	n int
	// answered is when the last answer came, or the first open was sent.
	answered time.Time
}

func newOpenLimiter() *openLimiter {
	return &openLimiter{targets: map[string]*pendingTarget{}, freed: make(chan struct{})}
}

// acquire waits until one more open to the target may be sent.
func (p *openLimiter) acquire(ctx context.Context, l *link, target string) error {
	for {
		p.mu.Lock()
		t := p.targets[target]
		if t == nil {
			t = &pendingTarget{answered: time.Now()}
		}
		if t.n < min(maxPendingOpensPerTarget, maxPendingOpens-p.total) {
			p.targets[target] = t
			p.total++
			t.n++
			p.mu.Unlock()
			return nil
		}
		n, total, answered := t.n, p.total, t.answered
		freed := p.freed
		p.mu.Unlock()
		switch {
		case n == 0 || time.Since(answered) < stallAfter:
		case l.wire.heardSince(answered) < stallAfter:
			l.probe() // it may be the bastion: those who come after the answer know better
		default:
			return &OpenError{
				Tunnel: l.entry.cfg.Name, Target: target, Reason: OpenPending,
				Detail: fmt.Sprintf("the bastion has answered none of %d", n),
			}
		}
		select {
		case <-freed:
		case <-l.wire.dead:
			return errLinkLost
		case <-ctx.Done():
			return &TimeoutError{Tunnel: l.entry.cfg.Name, Doing: fmt.Sprintf("opening channel to %q: waiting for one of %d unanswered opens", target, total), Cause: context.Cause(ctx)}
		}
	}
}

// heardSince is for how long the bastion was heard after a time: up to the last
// byte, from the end of the last silence on.
func (w *wire) heardSince(t time.Time) time.Duration {
	return w.lastHeard() - max(t.Sub(w.start), time.Duration(w.resumed.Load()))
}

// pending returns how many opens are unanswered.
func (p *openLimiter) pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// release gives an acquired open back, its answer having come.
func (p *openLimiter) release(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	t := p.targets[target]
	t.n--
	t.answered = time.Now()
	if t.n == 0 {
		delete(p.targets, target)
	}
	close(p.freed)
	p.freed = make(chan struct{})
}
