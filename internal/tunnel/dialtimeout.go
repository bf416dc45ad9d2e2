package tunnel

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// dialtimeout.go contains the context of a dial that may wait for others.

// longestWait is how long a dial waits at most, however well its queue moves.
const longestWait = time.Minute

// WithDialTimeout returns a copy of ctx that ends, with cause, when a Dial has waited
// for timeout: for a connection, for its turn while the dials before it get theirs
// no more, or for the bastion's answer to its open. Its Deadline moves as long as
// the queue of the dial does, up to a minute. For everything else it is a context
// with a timeout.
func WithDialTimeout(ctx context.Context, timeout time.Duration, cause error) (context.Context, context.CancelFunc) {
	p := &dialTimeout{timeout: timeout, start: time.Now()}
	p.parent = dialTimeoutOf(ctx)
	p.since = p.start
	inner, cancel := context.WithCancelCause(ctx)
	p.Context, p.end = inner, func() {
		p.over.Store(true)
		cancel(cause)
	}
	p.timer = time.AfterFunc(timeout, p.check)
	return p, func() {
		p.timer.Stop()
		cancel(context.Canceled)
	}
}

// dialTimeout is the context of WithDialTimeout.
type dialTimeout struct {
	context.Context
	parent  *dialTimeout // that of the context it was made from, or nil
	timeout time.Duration
	start   time.Time
	end     func()
	timer   *time.Timer
	// over says that the time was over.
	over atomic.Bool

	// mu guards the fields below.
	mu sync.Mutex
	// since is when the wait began that timeout bounds.
	since time.Time
	// moved is when the queue that the dial is in last moved. nil if it is in none.
	moved func() time.Time
}

type dialTimeoutKey struct{}

// dialTimeoutOf returns the dialTimeout that a context has, or nil.
func dialTimeoutOf(ctx context.Context) *dialTimeout {
	p, _ := ctx.Value(dialTimeoutKey{}).(*dialTimeout)
	return p
}

// Value implements context.Context.
func (p *dialTimeout) Value(key any) any {
	if key == (dialTimeoutKey{}) {
		return p
	}
	return p.Context.Value(key)
}

// Err implements context.Context.
func (p *dialTimeout) Err() error {
	err := p.Context.Err()
	if err != nil && p.over.Load() {
		return context.DeadlineExceeded
	}
	return err
}

// Deadline implements context.Context.
func (p *dialTimeout) Deadline() (time.Time, bool) {
	p.mu.Lock()
	moved := p.moved
	p.mu.Unlock()
	at := p.deadline(moved)
	if d, ok := p.Context.Deadline(); ok {
		at = earlier(at, d)
	}
	return at, true
}

// deadline is when it ends, as things are. It calls moved without mu.
func (p *dialTimeout) deadline(moved func() time.Time) time.Time {
	var last time.Time
	if moved != nil {
		last = moved()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if last.After(p.since) {
		p.since = last
	}
	return earlier(p.since.Add(p.timeout), p.start.Add(max(p.timeout, longestWait)))
}

// check ends the context if its time is over, or looks again when it may be.
func (p *dialTimeout) check() {
	if at, _ := p.Deadline(); time.Now().Before(at) {
		p.timer.Reset(time.Until(at))
		return
	}
	p.end()
}

// queued says that the dial is in a queue, and how to see when that last moved.
func (p *dialTimeout) queued(moved func() time.Time) {
	for ; p != nil; p = p.parent {
		p.mu.Lock()
		p.moved = moved
		p.mu.Unlock()
	}
}

// served says that the dial has left the queue. If it had its turn after others,
// what it waits for next has the whole timeout.
func (p *dialTimeout) served(inTurn bool) {
	for ; p != nil; p = p.parent {
		p.mu.Lock()
		p.moved = nil
		if inTurn {
			p.since = time.Now()
		}
		p.mu.Unlock()
	}
}
