package sshconn

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

const (
	// sendLimit is how much a channel takes before its writers wait.
	sendLimit = 64 << 10
	// flushTimeout is how long data that was written before a Close may take
	// to go out. It is what TCP gives an orphaned connection.
	flushTimeout = time.Minute
	// drainGrace is how long after the death of the connection a reader waits for
	// what had arrived before.
	drainGrace = time.Second
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

	readDeadline, writeDeadline *deadline
	read, written               atomic.Int64

	// chunks carries what pump has read.
	chunks chan wire.Buffer
	// ended is closed when pump has read everything; readErr is set before.
	ended   chan struct{}
	readErr error

	// readMu serialises readers and guards current.
	readMu  sync.Mutex
	current wire.Buffer

	// writeMu serialises writers, so that each Write stays in one piece.
	writeMu sync.Mutex
	// room is signalled when send has made room in out.
	room chan struct{}
	out  sendQueue
}

// newConn returns a Conn, which can be used at once, and begins with setChannel.
func newConn(client *Client, local, remote net.Addr) *Conn {
	c := &Conn{
		client: client, local: local, remote: remote,
		opened: time.Now(), ready: make(chan struct{}), closedByPeer: make(chan struct{}),
		closed:       make(chan struct{}),
		readDeadline: newDeadline(), writeDeadline: newDeadline(),
		chunks: make(chan wire.Buffer),
		ended:  make(chan struct{}),
		room:   make(chan struct{}, 1),
	}
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

// pump reads the channel, one buffer ahead of the reader. It returns at the
// channel's end, which Close and the death of the connection bring about.
func (c *Conn) pump() {
	if !c.hasChannel() {
		c.readErr = c.lostError("read")
		close(c.ended)
		return
	}
	size := wire.NewReadSize()
	for {
		k := wire.BufferFor(size.Next)
		n, err := c.ch.Read(k.Data)
		if n > 0 {
			size.Adapt(n)
			k.Data = k.Data[:n]
			select {
			case c.chunks <- k:
			case <-c.closed:
				k.Release()
				return
			}
		} else {
			k.Release()
		}
		if err != nil {
			c.readErr = c.endOfStream(err)
			close(c.ended)
			return
		}
	}
}

// endOfStream tells a channel's end from its connection's. x/crypto reports both as
// io.EOF, and a response that ends with the connection would be cut short
// without an error. One that has died is known to be dead by then. On one that
// lives, SSH_MSG_CHANNEL_EOF leaves the channel's requests open, and is the peer's. An
// end that closes them as well may be x/crypto giving the connection up: it is believed
// once the bastion has answered a probe sent after it.
func (c *Conn) endOfStream(err error) error {
	if err != io.EOF || c.client.IsDone() {
		return c.lostError("read")
	}
	if !c.isClosedByPeer() || c.client.proveAlive(c.closed) {
		return io.EOF
	}
	return c.lostError("read")
}

// isClosedByPeer reports whether x/crypto has closed the channel's requests, which
// serve may not have seen yet.
func (c *Conn) isClosedByPeer() bool {
	select {
	case req, ok := <-c.requests:
		if ok {
			answerRequest(req)
		}
		return !ok
	default:
		return false
	}
}

// Read implements net.Conn. At the peer's end of stream it returns io.EOF; if
// the connection to the bastion was lost, an error that wraps
// io.ErrUnexpectedEOF.
func (c *Conn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if err := c.usable("read", c.readDeadline); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.current.Data) == 0 {
		if err := c.nextChunk(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.current.Data)
	c.current.Data = c.current.Data[n:]
	if len(c.current.Data) == 0 {
		c.current.Release()
	}
	count(n, &c.read, &c.client.received, c.client.about.Received)
	return n, nil
}

// nextChunk waits for pump. The caller holds readMu.
func (c *Conn) nextChunk() error {
	var giveUp <-chan time.Time
	dead := c.client.Done()
	for {
		select {
		case c.current = <-c.chunks:
			return nil
		case <-c.ended:
			return c.readErr
		case <-c.closed:
			return c.opError("read", net.ErrClosed)
		case <-c.readDeadline.wait():
			if err := c.usable("read", c.readDeadline); err != nil {
				return err
			}
		case <-dead:
			// What had arrived is still delivered; but a transport that hangs
			// in its own death must not hang the reader.
			dead = nil
			timer := time.NewTimer(drainGrace)
			defer timer.Stop()
			giveUp = timer.C
		case <-giveUp:
			return c.lostError("read")
		}
	}
}

// usable returns why the connection can be neither read nor written, if so.
func (c *Conn) usable(op string, d *deadline) error {
	switch {
	case isClosed(c.closed):
		return c.opError(op, net.ErrClosed)
	case isClosed(d.wait()):
		return c.opError(op, os.ErrDeadlineExceeded)
	default:
		return nil
	}
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.remote.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// Write implements net.Conn. As with a socket, what it returned no error for
// has been taken over, not delivered.
func (c *Conn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	n := 0
	for {
		if err := c.usable("write", c.writeDeadline); err != nil {
			return n, err
		}
		if c.client.IsDone() {
			return n, c.lostError("write")
		}
		if isClosed(c.closedByPeer) {
			return n, c.opError("write", errBroken)
		}
		taken, err := c.out.put(c, p[n:])
		n += taken
		count(taken, &c.written, &c.client.sent, c.client.about.Sent)
		if err != nil {
			return n, c.opError("write", err)
		}
		if n == len(p) {
			return n, nil
		}
		select {
		case <-c.room:
		case <-c.closed:
		case <-c.closedByPeer:
		case <-c.writeDeadline.wait():
		case <-c.client.Done():
		}
	}
}

// CloseWrite sends an EOF (RFC 4254 section 5.3) after what has been written;
// reading goes on.
func (c *Conn) CloseWrite() error {
	if err := c.usable("close", newDeadline()); err != nil {
		return err
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
	c.out.finish(c, true)
	return nil
}

// LocalAddr returns the originator's address, as the bastion was told; of a
// connection that a Listener accepted, the address that the bastion listens on.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the target's address, a *net.TCPAddr if the target was
// given as an IP address; of a connection that a Listener accepted, the peer's,
// as the bastion tells it.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(c.readDeadline, t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(c.writeDeadline, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	if isClosed(c.closed) {
		return c.opError("set", net.ErrClosed)
	}
	d.set(t)
	return nil
}

// AfterLost has f run, in a goroutine of its own, once the connection to the
// bastion is lost, as context.AfterFunc does: whoever neither reads nor writes
// learns of it by nothing else. ended says that the peer had ended the stream
// before, all of which has arrived.
func (c *Conn) AfterLost(f func(ended bool)) (stop func() bool) {
	return context.AfterFunc(c.client.transport.Context(), func() { f(isClosed(c.ended) && c.readErr == io.EOF) })
}

// Stats returns the bytes that were read from and written to the channel.
func (c *Conn) Stats() (read, written int64) { return c.read.Load(), c.written.Load() }

// count adds bytes to the counts of the channel, its connection and its tunnel.
func count(n int, counts ...*atomic.Int64) {
	for _, count := range counts {
		count.Add(int64(n))
	}
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

// errBroken is what a write gets after the peer has closed the channel.
var errBroken error = syscall.EPIPE
