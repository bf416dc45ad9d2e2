package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialtimeout"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// queue.go contains the dials that wait: for a connection, for a place on one, or
// for their turn to be sent to their target. One that waits takes up neither a
// place nor a turn; it gets both at once, and in the order of arrival. Those that
// want the same stand in one line, of which only the first is looked at.

// placement is what a dial wants, and what it gets.
type placement struct {
	line lineKey
	// patient says that it waits for one more attempt to connect instead of
	// failing with the outcome of the last; attempts counts those before it.
	patient  bool
	attempts uint64
	// unwanted is closed when nobody waits for the channel any more.
	unwanted <-chan struct{}
	// not is a connection that it must not be on; see dialElsewhere. If its target is
	// known to work, another connection may be added for it.
	not   *member
	known bool
	// arrived is when it came, and waits what it waits for. Pool.mu guards it.
	arrived time.Time
	waits   waitReason
	// settled is closed once link or err is set.
	settled chan struct{}
	link    *member
	err     error
}

// waitReason is what a dial waits for, as place has found.
type waitReason int

const (
	waitConnection waitReason = iota // one to come
	waitPlace                        // all connections are full
	waitTurn                         // too many opens to its target are unanswered
)

// lineKey is what the dials of one line have in common.
type lineKey struct {
	class  Class
	target string
	// elsewhere is for dials that wait for no others to end; see dialElsewhere.
	elsewhere bool
}

// line are the dials that want the same, first come first served.
type line struct {
	key     lineKey
	waiting []*placement
	// moved is when the last one got what it wanted.
	moved time.Time
	// waits and full are what place has said of the first.
	waits waitReason
	full  error
	// blocked says that nothing could be done for it, in this run of serveQueue.
	blocked bool
}

// dialQueue are the lines of a pool. Pool.mu guards it.
type dialQueue struct {
	lines map[lineKey]*line
	// placed is when a dial of a class last got a place.
	placed map[Class]time.Time
	// shedAt is when pools were last asked to let go of channels for it.
	shedAt time.Time
}

// add puts a placement at the end of its line.
func (q *dialQueue) add(w *placement) *line {
	if q.lines == nil {
		q.lines, q.placed = map[lineKey]*line{}, map[Class]time.Time{}
	}
	n := q.lines[w.line]
	if n == nil {
		n = &line{key: w.line}
		q.lines[w.line] = n
	}
	n.waiting = append(n.waiting, w)
	return n
}

// remove takes a placement out of its line.
func (q *dialQueue) remove(n *line, w *placement) {
	n.waiting = slices.DeleteFunc(n.waiting, func(o *placement) bool { return o == w })
	if len(n.waiting) == 0 && q.lines[n.key] == n {
		delete(q.lines, n.key)
	}
}

// settle ends a placement.
func (q *dialQueue) settle(n *line, w *placement, m *member, err error) {
	q.remove(n, w)
	w.link, w.err = m, err
	close(w.settled)
}

// next returns the line that is not blocked whose first placement has come first, or
// nil.
func (q *dialQueue) next() (next *line) {
	for _, n := range q.lines {
		if !n.blocked && (next == nil || n.waiting[0].arrived.Before(next.waiting[0].arrived)) {
			next = n
		}
	}
	return next
}

// serveQueue gives what there is to those who wait for it. It is called whenever
// there may be more than before. The caller holds mu.
func (p *Pool) serveQueue() {
	q := &p.queue
	for _, n := range q.lines {
		n.blocked = false
	}
	for n := q.next(); n != nil; n = q.next() {
		n.blocked = !p.serveLine(n)
	}
	if len(q.lines) > 0 {
		p.retry.demand.Dials = p.retry.demand.Dials || len(p.active()) == 0
		p.wake()
	}
}

// serveLine settles the first placement of a line, or is false. The caller holds mu.
func (p *Pool) serveLine(n *line) bool {
	q, w := &p.queue, n.waiting[0]
	if p.ctx.Err() != nil {
		q.settle(n, w, nil, failure.ErrClosed)
		return true
	}
	m, err := p.place(w)
	switch {
	case m != nil:
		p.take(m, w.line)
		w.waits = n.waits // what it has waited for
		n.moved = time.Now()
		q.placed[w.line.class] = n.moved
		q.settle(n, w, m, nil)
		return true
	case err != nil && w.line.elsewhere:
		q.settle(n, w, nil, err)
		return true
	}
	n.waits, n.full = w.waits, err
	return len(p.active()) == 0 && p.failDown(n)
}

// failDown fails those of a line that do not wait for another attempt to connect
// than the last. The caller holds mu.
func (p *Pool) failDown(n *line) (failed bool) {
	if p.retry.state != retryFailed {
		return false
	}
	for _, w := range slices.Clone(n.waiting) {
		if !w.patient || p.retry.attempts != w.attempts {
			p.queue.settle(n, w, nil, p.down())
			failed = true
		}
	}
	if failed { // each asks for another attempt
		p.retry.want()
		p.wake()
	}
	return failed
}

// pick returns a connection with a place for one more channel and a turn for its
// open, which are taken. It waits while that can help.
func (p *Pool) pick(ctx context.Context, w *placement) (*member, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.arrived, w.attempts, w.settled = time.Now(), p.retry.attempts, make(chan struct{})
	n := p.queue.add(w)
	p.serveQueue()
	if w.link != nil || w.err != nil {
		return w.link, w.err
	}
	if err := p.hopeless(n); err != nil {
		p.queue.remove(n, w)
		return nil, err
	}
	p.mu.Unlock()
	gaveUp := p.await(ctx, w, n)
	p.mu.Lock()
	if w.link != nil || w.err != nil { // if only in the same moment
		if w.waits != waitConnection {
			dialtimeout.Of(ctx).Extend(time.Now()) // the bastion's answer has all of it
		}
		return w.link, w.err
	}
	p.queue.remove(n, w)
	p.serveQueue() // the next in line may want less
	return nil, p.gaveUp(n, gaveUp)
}

// await waits until a placement is settled or nobody wants it any more. Its timeout
// begins anew as often as its queue moves. After streamPatience it may be content with
// less.
func (p *Pool) await(ctx context.Context, w *placement, n *line) (gaveUp error) {
	timeout := dialtimeout.Of(ctx)
	var look <-chan time.Time
	if timeout != nil {
		ticker := time.NewTicker(max(time.Millisecond, timeout.Wait()/4))
		defer ticker.Stop()
		look = ticker.C
	}
	patience := time.NewTimer(streamPatience)
	defer patience.Stop()
	for {
		select {
		case <-w.settled:
			return nil
		case <-w.unwanted:
			return errUnwanted
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look:
			timeout.Extend(p.queueMoved(n))
		case <-patience.C:
			p.mu.Lock()
			p.serveQueue()
			p.mu.Unlock()
		}
	}
}

// errUnwanted is what a dial gets that nobody waits for any more.
var errUnwanted = errors.New("nobody waits for the channel any more")

// queueMoved is when somebody in a line, or in its way, last got what he waited
// for.
func (p *Pool) queueMoved(n *line) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if placed := p.queue.placed[n.key.class]; n.full != nil && placed.After(n.moved) {
		return placed // by who came earlier: a place that becomes free is the first's
	}
	return n.moved
}

// hopeless returns an error if a dial's turn is not to be expected: its target
// does not answer. The caller holds mu.
func (p *Pool) hopeless(n *line) error {
	if n.waits != waitTurn {
		return nil
	}
	total := 0
	for _, m := range p.active() {
		unanswered := m.opens.to(n.key.target)
		if unanswered > 0 && !m.blames(n.key.target) {
			return nil
		}
		total += unanswered
	}
	if total == 0 {
		return nil // it is others that do not answer
	}
	return &failure.OpenError{
		Tunnel: p.cfg.Name, Target: n.key.target, Reason: failure.OpenPending,
		Detail: fmt.Sprintf("the bastion has answered none of %d", total),
	}
}

// gaveUp is the error of a dial that has waited for too long, in a line. The
// caller holds mu.
func (p *Pool) gaveUp(n *line, cause error) error {
	doing := "waiting for the connection to the bastion"
	switch {
	case errors.Is(cause, errUnwanted):
		return cause
	case len(p.active()) == 0:
		if p.retry.state == retryFailed {
			return p.down()
		}
	case n.full != nil:
		return n.full
	case n.waits == waitTurn:
		doing = fmt.Sprintf("opening channel to %q: waiting for one of %d unanswered opens", n.key.target, p.pendingOpens())
	}
	return &failure.TimeoutError{Tunnel: p.cfg.Name, Doing: doing, Cause: cause}
}

// down is the error of a dial when there is no connection. The caller holds mu.
func (p *Pool) down() error {
	return &failure.DownError{
		Tunnel: p.cfg.Name, Cause: p.retry.err,
		RetryAfter: max(time.Second, time.Until(p.retry.at)),
	}
}

// pendingOpens is how many opens the bastion has not answered. The caller holds
// mu.
func (p *Pool) pendingOpens() (n int) {
	for _, m := range p.active() {
		n += m.opens.pending()
	}
	return n
}

// shedAfter is how long a dial waits for a place before pools let go of their
// channels.
const shedAfter = time.Second

// shedForQueue makes the pools let go of their channels when dials have waited for a
// place for a while: those that lie idle are places, and those in use are when
// their requests end. The caller holds mu.
func (p *Pool) shedForQueue(now time.Time) {
	q := &p.queue
	if now.Sub(q.shedAt) < shedTime {
		return
	}
	for _, n := range q.lines {
		if n.full != nil && now.Sub(n.waiting[0].arrived) >= shedAfter {
			q.shedAt = now
			p.newGeneration()
			return
		}
	}
}
