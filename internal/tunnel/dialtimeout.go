package tunnel

import (
	"context"
	"sync"
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
	now := time.Now()
	d := &dialTimeout{timeout: timeout, cause: cause, parent: dialTimeoutOf(ctx), last: now.Add(max(timeout, longestWait)), deadline: now.Add(timeout)}
	inner, cancel := context.WithCancelCause(ctx)
	d.Context, d.timer = inner, time.AfterFunc(timeout, func() { cancel(cause) })
	return d, func() {
		d.timer.Stop()
		cancel(context.Canceled)
	}
}

// dialTimeout is the context of WithDialTimeout.
type dialTimeout struct {
	context.Context
	parent  *dialTimeout // that of the context it was made from, or nil
	timeout time.Duration
	cause   error
	last    time.Time // the latest deadline
	timer   *time.Timer

	// mu guards deadline.
	mu       sync.Mutex
	deadline time.Time
}

type dialTimeoutKey struct{}

// dialTimeoutOf returns the dialTimeout that a context has, or nil.
func dialTimeoutOf(ctx context.Context) *dialTimeout {
	d, _ := ctx.Value(dialTimeoutKey{}).(*dialTimeout)
	return d
}

// Value implements context.Context.
func (d *dialTimeout) Value(key any) any {
	if key == (dialTimeoutKey{}) {
		return d
	}
	return d.Context.Value(key)
}

// Err implements context.Context.
func (d *dialTimeout) Err() error {
	err := d.Context.Err()
	if err != nil && context.Cause(d.Context) == d.cause { //nolint:errorlint // it is the very same
		return context.DeadlineExceeded
	}
	return err
}

// Deadline implements context.Context.
func (d *dialTimeout) Deadline() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := d.Context.Deadline(); ok {
		return earlier(at, d.deadline), true
	}
	return d.deadline, true
}

// extend lets the timeout begin anew at a time.
func (d *dialTimeout) extend(at time.Time) {
	for ; d != nil; d = d.parent {
		d.mu.Lock()
		if end := earlier(at.Add(d.timeout), d.last); end.After(d.deadline) && d.timer.Stop() {
			d.deadline = end
			d.timer.Reset(time.Until(end))
		}
		d.mu.Unlock()
	}
}
