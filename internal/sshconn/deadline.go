package sshconn

import (
	"sync"
	"time"
)

// deadline is a moment after which reads or writes fail.
type deadline struct {
	timer *time.Timer
	// passed says that it has passed.
	passed bool
}

// set moves the deadline to t, or clears it if t is zero. The caller holds the lock of
// changed, which is broadcast once the deadline has passed.
func (d *deadline) set(t time.Time, changed *sync.Cond) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.passed = nil, false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.passed = true
		changed.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		changed.L.Lock()
		defer changed.L.Unlock()
		if d.timer == timer { // it is not one that was replaced as it fired
			d.passed = true
			changed.Broadcast()
		}
	})
	d.timer = timer
}
