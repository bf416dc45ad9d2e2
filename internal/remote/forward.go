package remote

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

const (
	// retryMin is the delay before a refused forward is asked for again,
	// at least. It grows with the time that it has been refused for, so that
	// an outage lasts half as long again at most; ReconnectMax bounds it.
	retryMin = 25 * time.Millisecond
	// RefusedFor is how long a forward is refused before the log says
	// so: a port may be held a moment longer by the connection before.
	RefusedFor = time.Second
	// cancelTimeout is how long the bastion may take to answer a cancel
	// before the forward is asked for elsewhere.
	cancelTimeout = 5 * time.Second
	// Grace is how long a connection is kept after a forward on it was
	// cancelled: channels that the bastion opened before it knew are still
	// coming in.
	Grace = time.Second
)

// forward is an address that the bastion listens on for us, with all the listeners for
// it. Its keeper asks for it on one of the tunnel's connections.
type forward struct {
	all     *Forwards
	address address
	// woken tells the keeper that there may be something to do.
	woken chan struct{}
	// turn is signalled when a listener may have something to accept, or an answer of
	// the bastion's is there. Its lock is mu.
	turn *sync.Cond

	// keeper's own.
	asking asking

	// mu guards the rest.

	// listeners are those that are open, oldest first.
	listeners []*Listener
	// queue holds what nobody has accepted yet.
	queue []*inbound
	// on is the connection on which the bastion listens, as far as we know. The forward
	// holds it.
	on Connection
	// granted is the connection on which it was granted last. Both are the keeper's to
	// change.
	granted Connection
	// overflows bounds the refused connections in the log.
	overflows loglimit.Limiter
	// connections counts those that were accepted and have not ended.
	connections int
	// answer is for Established; nil before the bastion has answered.
	answer *answer
}

// answer is what the bastion has answered to a forward, last: nil if it listens.
type answer struct{ err error }

// asking is how asking for a forward has gone.
type asking struct {
	// kept is a connection on which the bastion would not cancel the forward:
	// dropbear does not. The forward stays there until it ends.
	kept Connection
	// refusedOn is the connection that refused it, since when, and the time to ask
	// again.
	refusedOn      Connection
	since, retryAt time.Time
	// logged bounds the refusals in the log.
	logged loglimit.Limiter
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

// keep keeps the bastion listening while there is a listener for it. It returns when
// the last one is closed and the bastion knows it, or when the tunnel has ended.
func (f *forward) keep() {
	for f.all.ctx.Err() == nil {
		f.all.mu.Lock()
		on, live := f.on, f.newest() != nil
		var refuse []*inbound
		if !live {
			refuse, f.queue = f.queue, nil
		}
		if len(f.listeners) == 0 && on == nil && len(refuse) == 0 {
			delete(f.all.forwards, f.address)
			f.all.mu.Unlock()
			return
		}
		f.all.mu.Unlock()

		for _, in := range refuse {
			in.refuse()
		}
		var want Connection
		if live {
			want = f.all.tunnel.ConnectionFor(on)
		}
		kept := live && on != nil && on == f.asking.kept && !on.Client().IsDone()
		switch {
		case on != nil && on != want && !kept:
			f.leave(on, live)
		case on == nil && want != nil && f.asking.due(want):
			f.ask(want)
		case on == nil && want != nil:
			f.await(time.After(time.Until(f.asking.retryAt)), nil)
		case kept:
			f.await(nil, on.Client().Done())
		default:
			f.await(nil, nil)
		}
	}
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	f.turn.Broadcast() // Established may wait
}

// await waits for a change, until it is time to ask again, or for the end of a
// connection.
func (f *forward) await(due <-chan time.Time, dead <-chan struct{}) {
	select {
	case <-f.woken:
	case <-due:
	case <-dead:
	case <-f.all.ctx.Done():
	}
}

// due reports whether it is time to ask on a connection: on another one than has
// refused last, at once.
func (a *asking) due(c Connection) bool {
	if c != a.refusedOn {
		a.refusedOn, a.since, a.retryAt = c, time.Time{}, time.Time{}
	}
	return time.Until(a.retryAt) <= 0
}

// ask asks the bastion to listen on a connection, and waits until it has answered or
// the connection has died or drains.
func (f *forward) ask(c Connection) {
	c.Hold()
	f.setOn(c)
	name, payload := f.address.request()
	switch ok, err := c.Client().Request(c.Draining(), name, payload); {
	case err != nil:
		// Whether it listens is not known: leave tells it not to.
	case ok:
		f.asking.logged.Over()
		f.answered(c, nil)
		f.all.tunnel.Log().Log(c.LogLevel(zap.InfoLevel), "remote forward established", zap.Stringer("listen", f.address))
	default:
		f.setOn(nil)
		c.Release()
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
	delay := min(max(retryMin, elapsed/2), f.all.tunnel.ReconnectMax())
	a.retryAt = now.Add(delay)

	level := zap.DebugLevel
	if elapsed >= RefusedFor {
		level, _ = a.logged.Level(zap.WarnLevel, "refused", 1)
		f.answered(nil, fmt.Errorf("the bastion refuses to listen on %q: %s; %s", f.address, f.address.refusedHint(), sshconn.NewConnectionHint(f.all.name)))
	}
	f.all.tunnel.Log().Log(level, "the bastion refuses a remote forward; will retry",
		zap.Stringer("listen", f.address), zap.String("hint", f.address.refusedHint()), zap.Duration("retry_in", delay.Round(time.Millisecond)))
}

// leave stops the bastion listening on a connection that the forward moves away from
// or, unless live, that nobody listens on any more. If the bastion will not, a live
// forward stays; otherwise a new connection takes over, so that the old one, and the
// forward with it, ends when it can.
func (f *forward) leave(c Connection, live bool) {
	ctx, cancel := context.WithTimeout(f.all.ctx, cancelTimeout)
	defer cancel()
	name, payload := f.address.cancel()
	ok, err := c.Client().Request(ctx.Done(), name, payload)
	switch {
	case err != nil, !ok && f.granted != c:
	case ok:
		f.all.tunnel.Log().Debug("remote forward cancelled", zap.Stringer("listen", f.address))
	case live:
		f.asking.kept = c
		return
	default:
		f.all.tunnel.Replace(c)
	}
	f.setOn(nil)
	time.AfterFunc(Grace, c.Release)
}

// setOn records on which connection the bastion listens, as far as we know.
func (f *forward) setOn(c Connection) {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	f.on = c
}

// answered records an answer, and with it on which connection the bastion listens, unless
// that is nil.
func (f *forward) answered(granted Connection, err error) {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	if granted != nil {
		f.granted = granted
	}
	f.answer = &answer{err}
	f.turn.Broadcast()
}
