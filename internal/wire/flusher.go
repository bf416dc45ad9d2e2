package wire

import (
	"net"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// gatherMost and gatherLeast bound what a flusher holds, the write under
	// way included, before its writers wait. The least is one large packet.
	gatherMost  = 256 << 10
	gatherLeast = 32 << 10
	// gatherTime is for how long what a flusher holds may keep the socket busy,
	// if that is less: a small packet waits behind all of it.
	gatherTime = 20 * time.Millisecond
	// firstPiece is the size of x/crypto's buffer for writes. It writes the first bytes of
	// a packet that is larger by themselves.
	firstPiece = 4096
)

// flusher writes to a socket, in one system call if a busyBuffer holds it, what
// has been given to it since the call before. x/crypto writes each packet by
// itself, a large one in two pieces, and holds up all of the connection's
// channels meanwhile. With many channels at work most packets find others to go
// with, and sshd, too, then reads many at once.
type flusher struct {
	conn   net.Conn
	socket socketOptions
	// failed gets why a write has failed. Nothing is written after it.
	failed func(error)

	// mu guards the fields below. It is never held across a write.
	mu sync.Mutex
	// room is signalled when there is more room, and when ended is set.
	room sync.Cond
	// gathered is what waits. Only its last buffer has room left.
	gathered []Buffer
	// size is the bytes in gathered and in the write under way, and limit what
	// it may be.
	size, limit int
	// packets is how many writes gathered holds.
	packets int
	// crowded says that the last write to the socket was of several packets.
	crowded bool
	// waiting is how many writers wait for room.
	waiting int
	// running says that run does.
	running bool
	// ended says that no more is taken.
	ended bool
}

func newFlusher(conn net.Conn, socket socketOptions, failed func(error)) *flusher {
	f := &flusher{conn: conn, socket: socket, failed: failed, limit: gatherMost}
	socket.limitUnsent(gatherMost / 2)
	f.room.L = &f.mu
	return f
}

// write takes p over, after a wait if too much has gathered. It is false once
// the flusher has ended.
func (f *flusher) write(p []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(p) > 0 {
		switch {
		case f.ended:
			return false
		case f.size >= f.limit:
			f.waiting++
			f.room.Wait()
			f.waiting--
			continue
		}
		f.packets++
		p = p[f.take(p):]
		if !f.running {
			f.running = true
			go f.run()
		}
	}
	return true
}

// take gathers what there is room for, in one buffer, of p. The caller holds mu.
func (f *flusher) take(p []byte) int {
	last := len(f.gathered) - 1
	if last < 0 || len(f.gathered[last].Data) == cap(f.gathered[last].Data) {
		k := BufferFor(busyBuffer)
		k.Data = k.Data[:0]
		f.gathered = append(f.gathered, k)
		last++
	}
	data := f.gathered[last].Data
	n := min(len(p), cap(data)-len(data), f.limit-f.size)
	f.gathered[last].Data = append(data, p[:n]...)
	f.size += n
	return n
}

// run writes what gathers. It returns when nothing has, or when a write has
// failed, as it does once the socket is closed.
func (f *flusher) run() {
	// written is the bytes since begun, without a pause.
	begun, written := time.Now(), 0
	for {
		if f.expectsMore() {
			runtime.Gosched() // whoever is about to write gets to do so first
		}
		k := f.next()
		if k.buf == nil {
			return
		}
		n, err := f.conn.Write(k.Data)
		k.Release()
		if err != nil {
			f.failed(err)
			return
		}
		written += n
		limit := 0
		if took := time.Since(begun); took >= gatherTime {
			limit = int(float64(written) * float64(gatherTime) / float64(took))
			limit = min(max(limit, gatherLeast), gatherMost)
			f.socket.limitUnsent(limit / 2)
			begun, written = time.Now(), 0
		}
		f.wrote(n, limit)
	}
}

// expectsMore reports whether somebody is about to write: several did before, one waits
// for room, or what has gathered is the beginning of a large packet, which x/crypto writes
// in two pieces.
func (f *flusher) expectsMore() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.crowded || f.waiting > 0 || f.size == firstPiece
}

// next returns what is to be written. If there is nothing, run is over.
func (f *flusher) next() Buffer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.gathered) == 0 {
		f.running = false
		return Buffer{}
	}
	f.crowded, f.packets = f.packets > 1, 0
	k := f.gathered[0]
	f.gathered = slices.Delete(f.gathered, 0, 1)
	return k
}

// wrote makes room for n bytes, and sets the limit if that is not 0.
func (f *flusher) wrote(n, limit int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size -= n
	if limit > 0 {
		f.limit = limit
	}
	f.room.Signal()
}

// unsent reports whether there is anything that the socket has not taken yet.
func (f *flusher) unsent() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running
}

// end drops what has gathered, and takes no more. It does not end a write: the
// caller closes the socket.
func (f *flusher) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for i := range f.gathered {
		f.gathered[i].Release()
	}
	f.gathered = nil
	f.room.Broadcast()
}
