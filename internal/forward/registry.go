package forward

import (
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// Registry is a set of open connections. Its zero value is empty.
type Registry struct {
	mu    sync.Mutex
	conns map[*trackedConn]struct{}
	empty chan struct{} // closed when the last one is done; nil while nobody waits
	ended bool          // no connection may go on
}

// trackedConn gives a connection an identity: an io.Closer need not be
// comparable, and may be tracked more than once.
type trackedConn struct{ io.Closer }

// Track registers a connection until done is called. It closes one at once if none may
// go on.
func (r *Registry) Track(conn io.Closer) (done func()) {
	c := &trackedConn{conn}
	if !r.add(c) {
		_ = conn.Close() // the process exits: nobody is left to tell
		return func() {}
	}
	return func() { r.done(c) }
}

// add is false if no connection may go on.
func (r *Registry) add(c *trackedConn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	if r.conns == nil {
		r.conns = make(map[*trackedConn]struct{})
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *Registry) done(c *trackedConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	if len(r.conns) == 0 && r.empty != nil {
		close(r.empty)
		r.empty = nil
	}
}

// End waits until every connection is done, at most for grace, and closes
// those that are not. Connections that are tracked later are closed at once.
func (r *Registry) End(grace time.Duration) {
	if grace > 0 {
		select {
		case <-r.Idle():
		case <-time.After(grace):
		}
	}

	r.mu.Lock()
	r.ended = true
	conns := slices.Collect(maps.Keys(r.conns))
	r.mu.Unlock()

	// A Close may take its time: they are closed side by side.
	var closing sync.WaitGroup
	for _, c := range conns {
		closing.Go(func() { _ = c.Close() })
	}
	closing.Wait()
}

// Idle returns a channel that is closed once no connection is open.
func (r *Registry) Idle() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.empty != nil {
		return r.empty
	}
	empty := make(chan struct{})
	if len(r.conns) == 0 {
		close(empty)
	} else {
		r.empty = empty
	}
	return empty
}
