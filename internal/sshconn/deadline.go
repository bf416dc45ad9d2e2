package sshconn

import (
	"sync"
	"time"
)

// deadline is a moment that can be set, moved and cleared, with a channel that
// is closed once it has passed.
type deadline struct {
	// mu guards the fields below.
	mu    sync.Mutex
	timer *time.Timer
	// passed is closed when the deadline has passed.
	passed chan struct{}
}

func newDeadline() *deadline { return &deadline{passed: make(chan struct{})} }

// set moves the deadline to t, or clears it if t is zero.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()

	over := d.timer != nil && !d.timer.Stop() // it closes its channel right now, or has
	d.timer = nil
	if over || isClosed(d.passed) {
		d.passed = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	passed := d.passed
	if left := time.Until(t); left > 0 {
		d.timer = time.AfterFunc(left, func() { close(passed) })
	} else {
		close(passed)
	}
}

// wait returns the channel that is closed when the present deadline passes.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

// isClosed reports whether a channel is closed that nothing is sent on.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
