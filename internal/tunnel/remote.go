package tunnel

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

const (
	// forwardRetryMin is the delay before a refused forward is asked for again,
	// at least. It grows with the time that it has been refused for, so that
	// an outage lasts a quarter longer at most; ReconnectMax bounds it.
	forwardRetryMin = 25 * time.Millisecond
	// forwardRefusedFor is how long a forward is refused before the log says
	// so: a port may be held a moment longer by the connection before.
	forwardRefusedFor = time.Second
	// forwardCancelTimeout is how long the bastion may take to answer a cancel
	// before the forward is asked for elsewhere.
	forwardCancelTimeout = 5 * time.Second
	// forwardGrace is how long a connection is kept after a forward on it was
	// cancelled: channels that the bastion opened before it knew are still
	// coming in.
	forwardGrace = time.Second
)

// forward is an address that the bastion listens on for us, with all the
// listeners for it. Its keeper sees to it that it is asked for on the
// pool's current connection.
type forward struct {
	pool    *pool
	address remoteAddress
	// woken tells the keeper that there may be something to do.
	woken chan struct{}
	// turn is signalled when a listener may have something to accept. Its lock
	// is pool.mu.
	turn *sync.Cond

	// keeper's own.
	asking asking

	// The rest is guarded by pool.mu.

	// listeners are those that are open, oldest first.
	listeners []*Listener
	// queue holds what nobody has accepted yet.
	queue []*inbound
	// on is the connection on which the bastion listens, as far as we know.
	// The forward counts as one of its channels, so that a connection which
	// drains stays until the forward has left it.
	on *member
	// granted is the connection on which it was granted last.
	granted *member
	// overflows bounds the refused connections in the log.
	overflows loglimit.Limiter
	// connections counts those that were accepted and have not ended.
	connections int
	// outcome is for Established; nil before the bastion has answered.
	outcome *outcome
}

// asking is how asking for a forward has gone.
type asking struct {
	// kept is a connection on which the bastion would not cancel the forward:
	// dropbear does not. The forward stays there until it ends.
	kept *member
	// connection is the connection that refused it, since when, and the time to ask
	// again.
	link           *member
	since, retryAt time.Time
	// logged bounds the refusals in the log.
	logged loglimit.Limiter
}

// listen adds a listener of h's for an address.
func (p *pool) listen(h *Handle, a remoteAddress) *Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.forwards[a]
	if f == nil {
		f = &forward{pool: p, address: a, woken: make(chan struct{}, 1), turn: sync.NewCond(&p.mu)}
		if p.forwards == nil {
			p.forwards = map[remoteAddress]*forward{}
		}
		p.forwards[a] = f
		go f.keep()
	}
	l := &Listener{forward: f, handle: h}
	f.listeners = append(f.listeners, l)
	f.wake()
	p.wake()
	return l
}

// newest returns the listener that gets the connections: the newest whose
// handle is started and not closed, or nil. The caller holds mu.
func (f *forward) newest() *Listener {
	for _, l := range slices.Backward(f.listeners) {
		if slices.Contains(f.pool.handles, l.handle) {
			return l
		}
	}
	return nil
}

// forwarding reports whether any forward wants a connection. The caller holds mu.
func (p *pool) forwarding() bool {
	for _, f := range p.forwards {
		if f.newest() != nil {
			return true
		}
	}
	return false
}

// wakeForwards wakes all forwards: their newest listener may be another one. The
// caller holds mu.
func (p *pool) wakeForwards() {
	for _, f := range p.forwards {
		f.wake()
	}
}

// wake wakes the listeners and the keeper: something has changed. The caller
// holds mu.
func (f *forward) wake() {
	f.turn.Broadcast()
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// keep keeps the bastion listening while there is a listener for it. It returns
// when the last one is closed and the bastion told so, or when the pool has
// ended.
func (f *forward) keep() {
	p := f.pool
	for p.ctx.Err() == nil {
		p.mu.Lock()
		on, live := f.on, f.newest() != nil
		var want *member
		var refuse []*inbound
		if live {
			want = f.wantedOn()
		} else {
			refuse, f.queue = f.queue, nil
		}
		if len(f.listeners) == 0 && on == nil && len(refuse) == 0 {
			delete(p.forwards, f.address)
			p.mu.Unlock()
			return
		}
		changed := p.changed
		p.mu.Unlock()

		for _, in := range refuse {
			in.refuse()
		}
		kept := live && on != nil && on == f.asking.kept && !on.client.IsDone()
		switch {
		case on != nil && on != want && !kept:
			f.leave(on, live)
		case on == nil && want != nil && f.asking.due(want):
			f.ask(want)
		case on == nil && want != nil:
			f.await(changed, time.After(time.Until(f.asking.retryAt)), nil)
		case kept:
			f.await(changed, nil, on.client.Done())
		default:
			f.await(changed, nil, nil)
		}
	}
}

// await waits for a change, until it is time to ask again, or for the end of a
// connection.
func (f *forward) await(changed <-chan struct{}, due <-chan time.Time, dead <-chan struct{}) {
	select {
	case <-changed:
	case <-f.woken:
	case <-due:
	case <-dead:
	case <-f.pool.ctx.Done():
	}
}

// due reports whether it is time to ask on a connection: on another one than
// has refused last, at once.
func (a *asking) due(m *member) bool {
	if m != a.link {
		a.link, a.since, a.retryAt = m, time.Time{}, time.Time{}
	}
	return time.Until(a.retryAt) <= 0
}

// ask asks the bastion to listen on a connection, and waits until it has
// answered or the connection has died or drains.
func (f *forward) ask(m *member) {
	p := f.pool
	p.mu.Lock()
	f.on = m
	m.channels++
	p.mu.Unlock()
	name, payload := f.address.request()
	switch ok, err := m.client.Request(m.draining, name, payload); {
	case err != nil:
		// Whether it listens is not known: leave tells it not to.
	case ok:
		f.asking.logged.Over()
		f.listensOn(m)
		p.log().Log(p.reports.followUp(zap.InfoLevel, m.client.Age()), "remote forward established", zap.Stringer("listen", f.address))
	default:
		p.mu.Lock()
		f.on = nil
		p.mu.Unlock()
		p.channelEnded(m)
		f.refused()
	}
}

// refused records that the bastion would not listen, and when to ask again.
func (f *forward) refused() {
	now := time.Now()
	a := &f.asking
	if a.since.IsZero() {
		a.since = now
	}
	elapsed := now.Sub(a.since)
	delay := min(max(forwardRetryMin, elapsed/4), f.pool.settings().ReconnectMax)
	a.retryAt = now.Add(delay)

	level := zap.DebugLevel
	if elapsed >= forwardRefusedFor {
		level, _ = a.logged.Level(zap.WarnLevel, "refused", 1)
	}
	if elapsed >= forwardRefusedFor {
		err := fmt.Errorf("the bastion refuses to listen on %q: %s; %s", f.address, f.address.refusedHint(), sshconn.NewConnectionHint(f.pool.cfg.Name))
		f.answered(err)
	}
	f.pool.log().Log(level, "the bastion refuses a remote forward; will retry",
		zap.Stringer("listen", f.address), zap.String("hint", f.address.refusedHint()), zap.Duration("retry_in", delay.Round(time.Millisecond)))
}

// leave has the bastion stop listening on a connection that the forward moves
// away from or, unless live, that nobody listens on any more. If the bastion
// will not, a live forward stays; otherwise a new connection takes over, so
// that the old one, and the forward with it, ends when it can.
func (f *forward) leave(m *member, live bool) {
	p := f.pool
	ctx, cancel := context.WithTimeout(p.ctx, forwardCancelTimeout)
	defer cancel()
	name, payload := f.address.cancel()
	ok, err := m.client.Request(ctx.Done(), name, payload)
	switch {
	case err != nil, !ok && !f.wasGranted(m):
	case ok:
		p.log().Debug("remote forward cancelled", zap.Stringer("listen", f.address))
	case live:
		f.asking.kept = m
		return
	default:
		p.replace(m, reasonForward, "the bastion would not cancel a remote forward")
	}
	p.mu.Lock()
	f.on = nil
	p.mu.Unlock()
	time.AfterFunc(forwardGrace, func() { p.channelEnded(m) })
}

// listensOn records that the bastion listens.
func (f *forward) listensOn(m *member) {
	f.pool.mu.Lock()
	f.granted = m
	f.pool.mu.Unlock()
	f.answered(nil)
}

// wasGranted reports whether the bastion has said that it listens on a connection.
func (f *forward) wasGranted(m *member) bool {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	return f.granted == m
}

// wantedOn returns the connection that the forward belongs on: the one where it
// is, as long as that takes channels, or else one for streams if there is one.
// The caller holds pool.mu.
func (f *forward) wantedOn() *member {
	active := f.pool.active()
	switch {
	case slices.Contains(f.pool.present(), f.on):
		return f.on
	case len(active) == 0:
		return nil
	default:
		return best(active, Stream)[0]
	}
}
