package sshconn

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// drainGrace is how long after the death of the connection a reader waits for
// what had arrived before.
const drainGrace = time.Second

// inbox is what has arrived on a Conn and was not read yet: x/crypto's Read can be
// neither interrupted nor bounded, so pump reads, one buffer ahead.
type inbox struct {
	// mu guards the fields below. It is never held across a read or a write.
	mu sync.Mutex
	// arrived wakes readers: there is something to read, or a reason to give up.
	arrived sync.Cond
	// taken wakes pump: what it has read was taken, or the Conn is closed.
	taken sync.Cond

	chunk wire.Buffer
	// count is the bytes that have arrived.
	count int64
	// err is why there is no more, set by pump when it ends.
	err error
	// closed and lost say that the Conn is closed, or its connection has ended
	// drainGrace ago.
	closed, lost bool
	deadline     deadline

	// sink is where pump writes what it reads, while WriteTo runs.
	sink io.Writer
	// sinking says that a write to sink is under way.
	sinking bool
	// sunk is the bytes written to sink, and sinkErr why a write has failed.
	sunk    int64
	sinkErr error
}

// pump reads the channel. It returns at the channel's end, which Close and the death of
// the connection bring about.
func (c *Conn) pump() {
	if !c.hasChannel() {
		c.endInbox(c.lostError("read"))
		return
	}
	size := wire.NewReadSize()
	for {
		k := wire.BufferFor(size.Next)
		n, err := c.ch.Read(k.Data)
		if n > 0 {
			size.Adapt(n)
			k.Data = k.Data[:n]
			if !c.in.deliver(k) {
				return
			}
		} else {
			k.Release()
		}
		if err != nil {
			c.endInbox(c.endOfStream(err))
			return
		}
	}
}

// endInbox says that pump has read everything.
func (c *Conn) endInbox(err error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.err = err
	close(c.ended)
	c.in.arrived.Broadcast()
}

// deliver hands on what pump has read, once what it has read before was taken. It
// returns false if the Conn is closed.
func (in *inbox) deliver(k wire.Buffer) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for (len(in.chunk.Data) > 0 || in.sinking) && !in.closed {
		in.taken.Wait()
	}
	if in.closed {
		k.Release()
		return false
	}
	in.count += int64(len(k.Data))
	in.chunk = k
	if in.sink != nil {
		in.pour()
	} else {
		in.arrived.Signal()
	}
	return true
}

// pour writes the chunk to the sink. The caller holds mu.
func (in *inbox) pour() {
	k, w := in.chunk, in.sink
	in.chunk, in.sinking = wire.Buffer{}, true
	in.mu.Unlock()
	n, err := w.Write(k.Data)
	k.Release()
	in.mu.Lock()
	in.sinking = false
	in.sunk += int64(n)
	if err != nil {
		in.sinkErr = err
	}
	if err != nil || in.sink == nil || in.lost {
		in.arrived.Broadcast()
	}
	in.taken.Signal()
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

// refusal is why nothing more is read, or nil. The caller holds mu.
func (in *inbox) refusal() error {
	switch {
	case in.closed:
		return net.ErrClosed
	case in.deadline.passed:
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

// Read implements net.Conn. At the peer's end of stream it returns io.EOF; if
// the connection to the bastion was lost, an error that wraps
// io.ErrUnexpectedEOF.
func (c *Conn) Read(p []byte) (int, error) {
	in := &c.in
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		switch err := in.refusal(); {
		case err != nil:
			return 0, c.opError("read", err)
		case len(p) == 0:
			return 0, nil
		case len(in.chunk.Data) > 0:
			n := copy(p, in.chunk.Data)
			in.chunk.Data = in.chunk.Data[n:]
			if len(in.chunk.Data) == 0 {
				in.chunk.Release()
				in.taken.Signal()
			} else {
				in.arrived.Signal() // for another reader
			}
			return n, nil
		case in.sinking: // WriteTo has the next
		case in.err != nil:
			return 0, in.err
		case in.lost:
			return 0, c.lostError("read")
		}
		in.arrived.Wait()
	}
}

// WriteTo implements io.WriterTo: it writes to w what arrives, up to the end of the
// stream. If w is a net.Conn, the goroutine that reads the channel writes to it, so that
// nothing is handed over. Errors are those of Read and of w.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	if _, ok := w.(net.Conn); !ok {
		return io.Copy(w, struct{ io.Reader }{c})
	}
	in := &c.in
	in.mu.Lock()
	defer in.mu.Unlock()
	for (in.sink != nil || in.sinking) && in.refusal() == nil {
		in.arrived.Wait() // for another WriteTo
	}
	if err := in.refusal(); err != nil {
		return 0, c.opError("read", err)
	}
	in.sink, in.sunk, in.sinkErr = w, 0, nil
	if len(in.chunk.Data) > 0 {
		in.pour()
	}
	err := in.awaitSink(c)
	in.sink = nil
	for in.sinking { // w is the caller's again
		in.arrived.Wait()
	}
	in.arrived.Broadcast()
	return in.sunk, err
}

// awaitSink waits until pump has no more to write to the sink, and returns why. The
// caller holds mu.
func (in *inbox) awaitSink(c *Conn) error {
	for {
		switch err := in.refusal(); {
		case in.sinkErr != nil:
			return in.sinkErr
		case err != nil:
			return c.opError("read", err)
		case in.sinking:
		case in.err == io.EOF:
			return nil
		case in.err != nil:
			return in.err
		case in.lost:
			return c.lostError("read")
		}
		in.arrived.Wait()
	}
}

// close ends reads.
func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	in.chunk.Release()
	in.deadline.set(time.Time{}, &in.arrived)
	in.arrived.Broadcast()
	in.taken.Broadcast()
}

// lose ends reads of what has not arrived: the connection ended drainGrace ago.
func (in *inbox) lose() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lost = true
	in.arrived.Broadcast()
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.in.closed {
		return c.opError("set", net.ErrClosed)
	}
	c.in.deadline.set(t, &c.in.arrived)
	return nil
}
