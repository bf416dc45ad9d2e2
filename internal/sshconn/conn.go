package sshconn

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Conn is a channel as a net.Conn, with what an ssh.Channel lacks: deadlines,
// addresses, a Close that unblocks reads and writes at once and still delivers
// what was written, and an end of stream that tells a peer's from a lost connection's.
type Conn struct {
	client        *Client
	local, remote net.Addr
	opened        time.Time
	dialed        time.Duration

	// ready is closed when ch and requests are set: to accept a channel is a write, which
	// waits as long as the connection does.
	ready chan struct{}
	// ch is nil if the connection has ended before the channel was accepted.
	ch ssh.Channel
	// requests are what the bastion asks on the channel. x/crypto closes them when the
	// bastion has closed the channel, and as it gives the connection up.
	requests <-chan *ssh.Request
	// closedByPeer is closed after requests.
	closedByPeer chan struct{}

	// closed is closed by Close.
	closed  chan struct{}
	closing atomic.Bool
	// closeSent is when, on the wire's clock, the CLOSE was sent; 0 if it was not.
	closeSent atomic.Int64

	in inbox
	// ended is closed when pump has read everything.
	ended chan struct{}

	// writeMu serialises writers, so that each Write stays in one piece.
	writeMu sync.Mutex
	out     sendQueue

	// countedIn and countedOut are what the connection's counts have of the channel's.
	// Client.traffic guards them.
	countedIn, countedOut int64
}

// newConn returns a Conn, which can be used at once, and begins with setChannel.
func newConn(client *Client, local, remote net.Addr) *Conn {
	c := &Conn{
		client: client, local: local, remote: remote,
		opened: time.Now(), ready: make(chan struct{}), closedByPeer: make(chan struct{}),
		closed: make(chan struct{}), ended: make(chan struct{}),
	}
	c.in.arrived.L, c.in.taken.L = &c.in.mu, &c.in.mu
	c.out.changed.L = &c.out.mu
	client.traffic.begin(c)
	go c.pump()
	return c
}

// setChannel sets the channel of the Conn, or says that there will be none.
func (c *Conn) setChannel(ch ssh.Channel, requests <-chan *ssh.Request, err error) {
	if err == nil {
		c.ch, c.requests = ch, requests
	}
	close(c.ready)
}

// hasChannel waits for setChannel, and reports whether there is a channel.
func (c *Conn) hasChannel() bool {
	<-c.ready
	return c.ch != nil
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.remote.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// CloseWrite sends an EOF (RFC 4254 section 5.3) after what has been written;
// reading goes on.
func (c *Conn) CloseWrite() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.closed {
		return c.opError("close", net.ErrClosed)
	}
	c.out.finish(c, false)
	return nil
}

// Close implements net.Conn. It does not block: what has been written is sent
// in the background, for a minute at most, and then the channel is closed.
func (c *Conn) Close() error {
	if c.closing.Swap(true) {
		return c.opError("close", net.ErrClosed)
	}
	close(c.closed)
	c.in.close()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.closed = true
	c.out.deadline.set(time.Time{}, &c.out.changed)
	c.out.finish(c, true)
	return nil
}

// lose ends writes, and soon reads: the connection has ended.
func (c *Conn) lose() {
	time.AfterFunc(drainGrace, c.in.lose)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.changed.Broadcast()
}

// refuse ends writes: the peer has closed the channel.
func (c *Conn) refuse() {
	close(c.closedByPeer)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.refused = true
	c.out.changed.Broadcast()
}

// LocalAddr returns the originator's address, as sent to the bastion; of a
// connection that a Listener accepted, the address that the bastion listens on.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the target's address, a *net.TCPAddr if the target was
// given as an IP address; of a connection that a Listener accepted, the peer's,
// as the bastion sends it.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.closed {
		return c.opError("set", net.ErrClosed)
	}
	c.out.deadline.set(t, &c.out.changed)
	return nil
}

// AfterLost runs f, in a goroutine of its own, once the connection to the
// bastion is lost, as context.AfterFunc does: whoever neither reads nor writes
// learns of it by nothing else. ended says that the peer had ended the stream
// before, all of which has arrived.
func (c *Conn) AfterLost(f func(ended bool)) (stop func() bool) {
	return context.AfterFunc(c.client.transport.Context(), func() { f(c.hasEnded()) })
}

// hasEnded reports whether the peer has ended the stream, and all of it has arrived.
func (c *Conn) hasEnded() bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.err == io.EOF
}

// Stats returns the bytes that have arrived on the channel, and that were written to it.
func (c *Conn) Stats() (received, written int64) {
	c.in.mu.Lock()
	received = c.in.count
	c.in.mu.Unlock()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return received, c.out.count
}

// Owner returns the owner of the connection that the channel is on.
func (c *Conn) Owner() Owner { return c.client.owner }

// Host returns the "host:port" of the server that the channel goes through.
func (c *Conn) Host() string { return c.client.about.Address }

// Opened returns when the channel was opened.
func (c *Conn) Opened() time.Time { return c.opened }

// SetDialDuration sets what DialDuration returns.
func (c *Conn) SetDialDuration(took time.Duration) { c.dialed = took }

// DialDuration returns how long the dial took that opened the channel, the wait
// for a connection included; 0 for one that the server opened.
func (c *Conn) DialDuration() time.Duration { return c.dialed }

// LostError says that the connection was lost while a channel was in use. It is an
// io.ErrUnexpectedEOF.
type LostError struct {
	// Cause is why, or nil.
	Cause error
}

func (e *LostError) Error() string {
	if e.Cause == nil {
		return "connection to the bastion lost"
	}
	return fmt.Sprintf("connection to the bastion lost: %v", e.Cause)
}

// Unwrap returns io.ErrUnexpectedEOF.
func (e *LostError) Unwrap() error { return io.ErrUnexpectedEOF }

// lostError is what reads and writes get once the connection has ended.
func (c *Conn) lostError(op string) error {
	return c.opError(op, &LostError{c.client.Err()})
}

// IsStuck reports whether we have closed the channel, and the server has had as long to
// do so as data has to go out.
func (c *Conn) IsStuck() bool {
	sent := c.closeSent.Load()
	return sent != 0 && int64(c.client.transport.Now())-sent >= int64(flushTimeout)
}
