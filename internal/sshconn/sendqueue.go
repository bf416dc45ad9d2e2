package sshconn

import (
	"net"
	"sync"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// fillUp is how far several writes fill a buffer: no further than what goes out in
// one packet, so that there is room for more meanwhile.
const fillUp = 32 << 10

// sendQueue is what has been written to a Conn and not yet gone out. It plays
// the part of a socket's send buffer: writers need not wait for the channel,
// which can neither be interrupted nor closed while a write on it waits.
type sendQueue struct {
	// mu guards the fields below. It is never held across a write.
	mu sync.Mutex
	// chunks are what waits.
	chunks []wire.Buffer
	// size is the bytes in chunks and in the write that is under way.
	size int
	// sending says that send runs.
	sending bool
	// eof and close say what is to follow the last wire.Buffer; eofSent that it did.
	eof, eofSent, close bool
	// flush ends a send that Close found under way and that gets nowhere.
	flush *time.Timer
	// err is what ended the sending.
	err error
}

// put takes as much of p as there is room for.
func (q *sendQueue) put(c *Conn, p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return 0, q.err
	}
	if q.eof {
		return 0, net.ErrClosed
	}
	n := 0
	for n < len(p) && q.size < sendLimit {
		taken := q.take(p[n:])
		n += taken
		q.size += taken
	}
	if n > 0 {
		q.kick(c)
	}
	return n, nil
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

// finish has an EOF, or a CLOSE, sent after the last wire.Buffer.
func (q *sendQueue) finish(c *Conn, closing bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.eof = true
	if closing && !q.close {
		q.close = true
		if q.sending {
			// A target that does not read keeps the write from ending; a CLOSE
			// sent past it ends the channel, and with it the write.
			q.flush = time.AfterFunc(flushTimeout, c.sendClose)
		}
	}
	q.kick(c)
}

// kick starts send unless it runs. The caller holds mu.
func (q *sendQueue) kick(c *Conn) {
	if !q.sending {
		q.sending = true
		go c.send()
	}
}

// send writes the queue to the channel. It returns when the queue is empty, or
// when the channel or the connection has ended.
func (c *Conn) send() {
	q := &c.out
	open := c.hasChannel()
	q.mu.Lock()
	defer q.mu.Unlock()
	if !open {
		q.fail(errBroken)
		return
	}
	for len(q.chunks) > 0 {
		k := q.chunks[0]
		q.chunks[0] = wire.Buffer{}
		q.chunks = q.chunks[1:]
		size := len(k.Data)

		q.mu.Unlock()
		c.client.beginWrite()
		_, err := c.ch.Write(k.Data)
		c.client.endWrite()
		k.Release()
		q.mu.Lock()

		q.size -= size
		if err != nil {
			q.fail(errBroken)
		}
		select {
		case c.room <- struct{}{}:
		default:
		}
	}
	q.chunks = nil
	if q.eof && !q.eofSent && !q.close {
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
}
