package forward

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// idleWriteSize is how much is written at a time where there is an idle
// timeout, lest a large write to a slow reader pass for nothing happening.
const idleWriteSize = 8 << 10

// idleWatch resets connections once no byte has gone through any of them for
// a timeout.
type idleWatch struct {
	timeout time.Duration
	conns   []net.Conn
	start   time.Time
	// last is when a byte went through, counted from start.
	last atomic.Int64

	// mu guards the fields below.
	mu    sync.Mutex
	timer *time.Timer
	over  bool // the timeout has passed
	ended bool // stop was called
}

// watchIdle starts the clock. It goes on until stop.
func watchIdle(timeout time.Duration, conns ...net.Conn) *idleWatch {
	w := &idleWatch{timeout: timeout, conns: conns, start: time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(timeout, w.check)
	return w
}

// check looks whether the timeout has passed, and when to look again.
func (w *idleWatch) check() {
	if w.isOver() {
		for _, conn := range w.conns {
			reset(conn)
		}
	}
}

// isOver reports whether the timeout has passed, or else sets the timer anew.
func (w *idleWatch) isOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false
	}
	idle := time.Since(w.start) - time.Duration(w.last.Load())
	if idle < w.timeout {
		w.timer.Reset(w.timeout - idle)
		return false
	}
	w.over = true
	return true
}

// stop ends the watch and reports whether the timeout had passed.
func (w *idleWatch) stop() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.timer.Stop()
	return w.over
}

// watched returns a connection whose traffic is seen.
func (w *idleWatch) watched(conn net.Conn) net.Conn { return &watchedConn{layered{conn}, w} }

// watchedConn tells its watch of each byte.
type watchedConn struct {
	layered
	watch *idleWatch
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.layered.Read(p)
	c.saw(n)
	return n, err
}

func (c *watchedConn) Write(p []byte) (written int, err error) {
	for {
		n, err := c.layered.Write(p[written:min(len(p), written+idleWriteSize)])
		c.saw(n)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

func (c *watchedConn) saw(n int) {
	if n > 0 {
		c.watch.last.Store(int64(time.Since(c.watch.start)))
	}
}
