package sshconn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

const (
	// sendLimit is how much a channel takes before its writers wait.
	sendLimit = 64 << 10
	// fillUp is how far several writes fill a buffer: no further than what goes out in
	// one packet, so that there is room for more meanwhile.
	fillUp = 32 << 10
	// flushTimeout is how long data that was written before a Close may take
	// to go out. It is what TCP gives an orphaned connection.
	flushTimeout = time.Minute
)

// sendQueue is what has been written to a Conn and not yet gone out. It plays
// the part of a socket's send buffer: writers need not wait for the channel,
// which can neither be interrupted nor closed while a write on it waits.
type sendQueue struct {
	// mu guards the fields below. It is never held across a read or a write.
	mu sync.Mutex
	// changed wakes writers: there is room, or a reason to give up.
	changed sync.Cond

	// chunks are what waits.
	chunks []wire.Buffer
	// size is the bytes in chunks and in the write that is under way.
	size int
	// count is the bytes that were written.
	count int64
	// sending says that send runs.
	sending bool
	// eof and close say what is to follow the last wire.Buffer; eofSent that it did.
	eof, eofSent, close bool
	// flush ends a send that Close found under way and that gets nowhere.
	flush *time.Timer
	// err is what ended the sending.
	err error
	// closed and refused say that the Conn is closed, or that the peer has closed the channel.
	closed, refused bool
	deadline        deadline

	// source is where send reads, while ReadFrom runs.
	source net.Conn
	// reading says that a read from source is under way.
	reading bool
	// sourced is the bytes read from source, and sourceErr why there are no more.
	sourced   int64
	sourceErr error
}

// errBroken is what a write gets after the peer has closed the channel.
var errBroken error = syscall.EPIPE

// writeRefusal is the error of a write that is refused, or nil. The caller holds out.mu.
func (c *Conn) writeRefusal() error {
	switch q := &c.out; {
	case q.closed:
		return c.opError("write", net.ErrClosed)
	case q.deadline.passed:
		return c.opError("write", os.ErrDeadlineExceeded)
	case c.client.IsDone():
		return c.lostError("write")
	case q.refused:
		return c.opError("write", errBroken)
	case q.err != nil:
		return c.opError("write", q.err)
	case q.eof:
		return c.opError("write", net.ErrClosed)
	default:
		return nil
	}
}

// Write implements net.Conn. As with a socket, what it returned no error for
// has been taken over, not delivered.
func (c *Conn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for {
		if err := c.writeRefusal(); err != nil {
			return n, err
		}
		taken := q.put(p[n:])
		if taken > 0 {
			q.kick(c)
		}
		if n += taken; n == len(p) {
			return n, nil
		}
		q.changed.Wait()
	}
}

// ReadFrom implements io.ReaderFrom: it writes what it reads from r, up to its end. If r
// is a net.Conn, the goroutine that writes to the channel reads from it, so that nothing
// is handed over. Errors are those of r and of Write.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	source, ok := r.(net.Conn)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	q := &c.out
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := c.writeRefusal(); err != nil {
		return 0, err
	}
	q.source, q.sourced, q.sourceErr = source, 0, nil
	q.kick(c)
	var err error
	for q.sourceErr == nil && err == nil {
		if err = c.writeRefusal(); err == nil {
			q.changed.Wait()
		}
	}
	q.source = nil
	for q.reading { // r is the caller's again
		q.changed.Wait()
	}
	switch {
	case err != nil:
		return q.sourced, err
	case isEOF(q.sourceErr):
		return q.sourced, nil
	default:
		return q.sourced, q.sourceErr
	}
}

// isEOF reports whether a stream has ended, and was not cut. The layers of a connection
// may wrap io.EOF.
func isEOF(err error) bool {
	return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}

// put takes as much of p as there is room for. The caller holds mu.
func (q *sendQueue) put(p []byte) (n int) {
	for n < len(p) && q.size < sendLimit {
		taken := q.take(p[n:])
		n += taken
		q.size += taken
		q.count += int64(taken)
	}
	return n
}

// take queues what there is room for, in one buffer, of p. The last one is filled
// up first: a writer of single bytes must not have a buffer for each. The caller
// holds mu.
func (q *sendQueue) take(p []byte) int {
	p = p[:min(len(p), sendLimit-q.size)]
	if last := len(q.chunks) - 1; last >= 0 {
		data := q.chunks[last].Data
		if room := min(cap(data), fillUp) - len(data); room > 0 {
			n := min(len(p), room)
			q.chunks[last].Data = append(data, p[:n]...)
			return n
		}
	}
	k := wire.BufferFor(len(p))
	n := copy(k.Data, p)
	q.chunks = append(q.chunks, k)
	return n
}

// finish sends an EOF, or a CLOSE, after the last wire.Buffer. The caller holds mu.
func (q *sendQueue) finish(c *Conn, closing bool) {
	q.eof = true
	if closing && !q.close {
		q.close = true
		if q.sending {
			// A target that does not read keeps the write from ending; a CLOSE
			// sent past it ends the channel, and with it the write.
			// While send reads from a source, nothing waits to go out.
			timeout := flushTimeout
			if q.reading {
				timeout = 0
			}
			q.flush = time.AfterFunc(timeout, c.sendClose)
		}
	}
	q.kick(c)
	q.changed.Broadcast()
}

// kick starts send unless it runs. The caller holds mu.
func (q *sendQueue) kick(c *Conn) {
	if !q.sending {
		q.sending = true
		go c.send()
	}
}

// send writes the queue to the channel, and what it reads from the source. It returns
// when the queue is empty and there is no source, or when the channel or the connection
// has ended.
func (c *Conn) send() {
	q := &c.out
	open := c.hasChannel()
	q.mu.Lock()
	defer q.mu.Unlock()
	if !open {
		q.fail(errBroken)
	}
	size := wire.NewReadSize()
	for q.err == nil {
		var k wire.Buffer
		switch {
		case len(q.chunks) > 0:
			k = q.chunks[0]
			q.chunks[0] = wire.Buffer{}
			q.chunks = q.chunks[1:]
		case q.source != nil && q.sourceErr == nil && c.writeRefusal() == nil:
			if k = q.draw(&size); len(k.Data) == 0 {
				continue
			}
		default:
			q.chunks = nil
			c.endSend()
			return
		}
		n := len(k.Data)
		q.mu.Unlock()
		c.client.beginWrite()
		_, err := c.ch.Write(k.Data)
		c.client.endWrite()
		k.Release()
		q.mu.Lock()
		q.size -= n
		if err != nil {
			q.fail(errBroken)
		}
		if q.source == nil || err != nil {
			q.changed.Broadcast()
		}
	}
	c.endSend()
}

// draw reads from the source. The buffer is empty if there is nothing to write. The
// caller holds mu.
func (q *sendQueue) draw(size *wire.ReadSize) wire.Buffer {
	source := q.source
	q.reading = true
	q.mu.Unlock()
	k := wire.BufferFor(size.Next)
	n, err := source.Read(k.Data)
	q.mu.Lock()
	q.reading = false
	if err != nil {
		q.sourceErr = err
	}
	if err != nil || q.source == nil {
		q.changed.Broadcast()
	}
	if n == 0 || q.closed {
		k.Release()
		return k
	}
	size.Adapt(n)
	k.Data = k.Data[:n]
	q.size += n
	q.count += int64(n)
	q.sourced += int64(n)
	return k
}

// endSend sends what is to follow the last of the queue, and ends send. The caller
// holds out.mu.
func (c *Conn) endSend() {
	q := &c.out
	if q.err == nil && q.eof && !q.eofSent && !q.close {
		q.eofSent = true
		q.mu.Unlock()
		_ = c.ch.CloseWrite() // fails only if the channel has ended
		q.mu.Lock()
	}
	if q.close {
		q.mu.Unlock()
		c.sendClose()
		q.mu.Lock()
	}
	if q.flush != nil {
		q.flush.Stop()
	}
	q.sending = false
}

// sendClose sends the CLOSE, past anything that is still to be sent.
func (c *Conn) sendClose() {
	if !c.hasChannel() {
		return
	}
	_ = c.ch.Close() // fails only if the channel has ended
	c.closeSent.CompareAndSwap(0, int64(c.client.transport.Now()))
}

// fail drops what cannot be sent any more. The caller holds mu.
func (q *sendQueue) fail(err error) {
	q.err = err
	for i := range q.chunks {
		q.size -= len(q.chunks[i].Data)
		q.chunks[i].Release()
	}
	q.chunks = nil
	q.changed.Broadcast()
}
