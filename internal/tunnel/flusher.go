package tunnel

import (
	"net"
	"runtime"
	"slices"
	"sync"
)

// gatherChunks is how many buffers of busyBuffer bytes a flusher holds at most,
// that of the write under way included. Writers wait when they are full.
const gatherChunks = 4

// flusher writes to a socket, in one system call, what has been given to it
// since the call before. x/crypto writes each packet by itself, a large one in
// two pieces, and holds up all of the connection's channels meanwhile. With
// many channels at work most packets find others to go with, and sshd, too,
// then reads many at once.
type flusher struct {
	conn net.Conn
	// failed is told why a write has failed. Nothing is written after it.
	failed func(error)

	// mu guards the fields below. It is never held across a write.
	mu sync.Mutex
	// room is signalled when there is more room, and when ended is set.
	room sync.Cond
	// gathered is what waits. Only its last buffer has room left.
	gathered []chunk
	// running tells that run does.
	running bool
	// ended tells that no more is taken.
	ended bool
}

func newFlusher(conn net.Conn, failed func(error)) *flusher {
	f := &flusher{conn: conn, failed: failed}
	f.room.L = &f.mu
	return f
}

// write takes p over, after a wait if too much has gathered. It is false once
// the flusher has ended.
func (f *flusher) write(p []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(p) > 0 {
		n := f.take(p)
		p = p[n:]
		switch {
		case f.ended:
			return false
		case n == 0:
			f.room.Wait()
		case !f.running:
			f.running = true
			go f.run()
		}
	}
	return true
}

// take gathers what one buffer takes of p; nothing if there is no room. The
// caller holds mu.
func (f *flusher) take(p []byte) int {
	last := len(f.gathered) - 1
	if last < 0 || len(f.gathered[last].data) == cap(f.gathered[last].data) {
		holding := len(f.gathered)
		if f.running {
			holding++ // what run writes
		}
		if holding >= gatherChunks || f.ended {
			return 0
		}
		k := bufferFor(busyBuffer)
		k.data = k.data[:0]
		f.gathered = append(f.gathered, k)
		last++
	}
	data := f.gathered[last].data
	n := min(len(p), cap(data)-len(data))
	f.gathered[last].data = append(data, p[:n]...)
	return n
}

// run writes what gathers. It returns when nothing has, or when a write has
// failed, as it does once the socket is closed.
func (f *flusher) run() {
	for {
		// Whoever is about to write gets to do so first.
		runtime.Gosched()
		k := f.next()
		if k.buf == nil {
			return
		}
		_, err := f.conn.Write(k.data)
		k.release()
		if err != nil {
			f.failed(err)
			return
		}
	}
}

// next returns what is to be written next. If there is nothing, run is over.
func (f *flusher) next() chunk {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room.Signal()
	if len(f.gathered) == 0 {
		f.running = false
		return chunk{}
	}
	k := f.gathered[0]
	f.gathered = slices.Delete(f.gathered, 0, 1)
	return k
}

// unsent tells whether there is anything that the socket has not taken yet.
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
		f.gathered[i].release()
	}
	f.gathered = nil
	f.room.Broadcast()
}
