// Package dialtimeout has the context of a dial that may wait for others. It knows nothing
// of what the dial waits for. Package pool imports it, and those above that dial.
package dialtimeout

import (
	"context"
	"sync"
	"time"
)

// Longest is how long a dial waits at most, however well its queue moves.
const Longest = time.Minute

// With returns a copy of ctx that ends, with cause, when a tunnel's Dial has waited
// for timeout: for a connection, for its turn while the dials before it get theirs
// no more, or for the bastion's answer to its open. Its Deadline moves as long as
// the queue of the dial does, up to a minute. For everything else it is a context
// with a timeout.
func With(ctx context.Context, timeout time.Duration, cause error) (context.Context, context.CancelFunc) {
	now := time.Now()
	d := &Timeout{timeout: timeout, cause: cause, parent: Of(ctx), last: now.Add(max(timeout, Longest)), deadline: now.Add(timeout)}
	inner, cancel := context.WithCancelCause(ctx)
	d.Context, d.timer = inner, time.AfterFunc(timeout, func() { cancel(cause) })
	return d, func() {
		d.timer.Stop()
		cancel(context.Canceled)
	}
}

// Timeout is the context of With.
type Timeout struct {
	context.Context
	parent  *Timeout // that of the context it was made from, or nil
	timeout time.Duration
	cause   error
	last    time.Time // the latest deadline
	timer   *time.Timer

	// mu guards deadline.
	mu       sync.Mutex
	deadline time.Time
}

type timeoutKey struct{}

// Of returns the Timeout that a context has, or nil.
func Of(ctx context.Context) *Timeout {
	d, _ := ctx.Value(timeoutKey{}).(*Timeout)
	return d
}

// Value implements context.Context.
func (d *Timeout) Value(key any) any {
	if key == (timeoutKey{}) {
		return d
	}
	return d.Context.Value(key)
}

// Err implements context.Context.
func (d *Timeout) Err() error {
	err := d.Context.Err()
	if err != nil && context.Cause(d.Context) == d.cause { //nolint:errorlint // it is the very same
		return context.DeadlineExceeded
	}
	return err
}

// Deadline implements context.Context.
func (d *Timeout) Deadline() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := d.Context.Deadline(); ok && at.Before(d.deadline) {
		return at, true
	}
	return d.deadline, true
}

// Wait is how long the dial may wait without its queue having moved.
func (d *Timeout) Wait() time.Duration { return d.timeout }

// Extend lets the timeout begin anew at a time. A nil Timeout has none.
func (d *Timeout) Extend(at time.Time) {
	for ; d != nil; d = d.parent {
		d.mu.Lock()
		end := at.Add(d.timeout)
		if end.After(d.last) {
			end = d.last
		}
		if end.After(d.deadline) && d.timer.Stop() {
			d.deadline = end
			d.timer.Reset(time.Until(end))
		}
		d.mu.Unlock()
	}
}
