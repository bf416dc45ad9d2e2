package bind

// unread.go takes the connections back that a server has accepted and
// read nothing of when its configuration is replaced. It would drop them: net/http
// answers no request that it has not read when it shuts down.

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/clienthello"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
)

// The states of an unreadConn.
const (
	// stateUnread is that the server has neither read nor written a byte.
	stateUnread = iota
	// stateServed is that it has, or has closed the connection: it is the
	// server's for good.
	stateServed
	// stateTaken is that the connection is no longer the server's.
	stateTaken
)

// unreadConn is a connection that can be taken back until the server has read
// something of it, or written.
type unreadConn struct {
	net.Conn
	// from is the listener that has accepted it.
	from *boundListener
	// state changes under mu, away from stateUnread only.
	state atomic.Int32

	// mu guards reading: how many reads are under way.
	mu      sync.Mutex
	reading int
}

// serve makes the connection the server's. It is false if it has been taken.
func (c *unreadConn) serve() bool {
	if c.state.Load() == stateServed {
		return true
	}
	c.mu.Lock()
	c.state.CompareAndSwap(stateUnread, stateServed)
	c.mu.Unlock()
	if c.state.Load() == stateTaken {
		return false
	}
	c.from.forget(c)
	return true
}

// take takes the connection back, if the server has not used it. A read that is
// under way passes it on, else the caller does so.
func (c *unreadConn) take() (pass bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.state.CompareAndSwap(stateUnread, stateTaken) {
		return false
	}
	if c.reading > 0 {
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
		return false
	}
	return true
}

// Read implements net.Conn.
func (c *unreadConn) Read(p []byte) (int, error) {
	if c.state.Load() == stateServed {
		return c.Conn.Read(p)
	}
	if !c.beginRead() {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Read(p)
	if !c.endRead(n, err) {
		return n, err
	}
	// A deadline is what has ended it, unless something came in the same moment.
	conn := c.Conn
	if n > 0 {
		conn = clienthello.Replay(conn, append([]byte(nil), p[:n]...), nil)
	}
	c.from.pass(conn)
	return 0, net.ErrClosed
}

// beginRead is false if the connection has been taken.
func (c *unreadConn) beginRead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Load() == stateTaken {
		return false
	}
	c.reading++
	return true
}

// endRead reports whether the connection has been taken meanwhile and is to be passed
// on. With the first byte, or at its end, it is the server's.
func (c *unreadConn) endRead(n int, err error) (pass bool) {
	c.mu.Lock()
	c.reading--
	if n > 0 || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.state.CompareAndSwap(stateUnread, stateServed)
	}
	state := c.state.Load()
	pass = state == stateTaken && c.reading == 0
	c.mu.Unlock()
	if state == stateServed {
		c.from.forget(c)
	}
	return pass
}

// Write implements net.Conn.
func (c *unreadConn) Write(p []byte) (int, error) {
	if !c.serve() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn. It leaves a connection alone that has been taken.
func (c *unreadConn) Close() error {
	if !c.serve() {
		return nil
	}
	return c.Conn.Close()
}

// SetDeadline implements net.Conn.
func (c *unreadConn) SetDeadline(t time.Time) error { return c.set(c.Conn.SetDeadline, t) }

// SetReadDeadline implements net.Conn.
func (c *unreadConn) SetReadDeadline(t time.Time) error { return c.set(c.Conn.SetReadDeadline, t) }

// SetWriteDeadline implements net.Conn.
func (c *unreadConn) SetWriteDeadline(t time.Time) error { return c.set(c.Conn.SetWriteDeadline, t) }

// set sets a deadline, unless the connection has been taken. It does not wait.
func (c *unreadConn) set(deadline func(time.Time) error, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Load() == stateTaken {
		return net.ErrClosed
	}
	return deadline(t)
}

// NetConn returns the connection beneath, for what that can do. See
// forward.Layer.
func (c *unreadConn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends the writing direction.
func (c *unreadConn) CloseWrite() error {
	if !c.serve() {
		return net.ErrClosed
	}
	return forward.CloseWrite(c.Conn)
}
