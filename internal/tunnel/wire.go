package tunnel

import (
	"bufio"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// wireReadBuffer is how much is read from a bastion in one system call at
// most. x/crypto's own buffer is 4 KiB.
const wireReadBuffer = 64 << 10

// wire is the net.Conn under an SSH transport. It knows, before x/crypto does,
// when the connection has died, and when the peer was last heard of.
type wire struct {
	net.Conn
	socket socketOptions
	in     *bufio.Reader
	server versionReader
	out    *flusher

	// start is what the times below are counted from.
	start time.Time
	// heard is when the last byte arrived.
	heard atomic.Int64
	// resumed is when a byte last arrived after stallAfter without one. It is set
	// before heard.
	resumed atomic.Int64
	// greeted is when the first byte arrived. It is set before heard.
	greeted time.Duration
	// preamble is what arrives until the end of the first key exchange. version,
	// hostKey, signature and strict are what noteGreeting finds in it; the first three
	// are for the handshake only.
	preamble           preamble
	version            string
	hostKey, signature []byte
	strict             atomic.Bool
	// bytes counts both directions.
	bytes atomic.Int64
	// stage is how far the login is, and piece how much more the reader may have
	// of a piece, which is its own; see leftover.go.
	stage atomic.Int32
	piece int

	// mu guards cause.
	mu sync.Mutex
	// cause is why the wire died; it is set before dead is closed.
	cause error
	dead  chan struct{}
	// lost is done, by end, once dead is closed: for what is to follow from it.
	lost context.Context
	end  context.CancelFunc
}

func newWire(conn net.Conn) *wire {
	w := &wire{Conn: conn, start: time.Now(), dead: make(chan struct{})}
	w.lost, w.end = context.WithCancel(context.Background())
	w.in = bufio.NewReaderSize(socketReader{w}, wireReadBuffer)
	w.server = versionReader{in: w.in, preamble: &w.preamble}
	w.socket = socketOptionsOf(conn)
	w.out = newFlusher(conn, w.socket, w.die)
	return w
}

// now is the time since the wire was made; monotonic, and never zero.
func (w *wire) now() time.Duration { return time.Since(w.start) + 1 }

// lastHeard is when the last byte arrived, as now counts; 0 before the first.
func (w *wire) lastHeard() time.Duration { return time.Duration(w.heard.Load()) }

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if w.stage.Load() < stageOpen && w.bytes.Load() > loginBudget {
		w.die(failure.ErrPreAuthLimit)
	}
	n, err := 0, net.ErrClosed
	if p, ok := w.pace(p); ok {
		n, err = w.server.Read(p)
		w.piece -= n
	}
	if err != nil {
		w.die(err)
	}
	return n, err
}

// socketReader reads from the socket for a wire's buffer.
type socketReader struct{ w *wire }

func (r socketReader) Read(p []byte) (int, error) {
	n, err := r.w.Conn.Read(p)
	if n > 0 {
		if r.w.heard.Load() == 0 {
			r.w.greeted = r.w.now()
		}
		r.w.preamble.add(p[:n])
		now := r.w.now()
		if now-r.w.lastHeard() >= stallAfter {
			r.w.resumed.Store(int64(now))
		}
		r.w.heard.Store(int64(now))
		r.w.bytes.Add(int64(n))
		if n < len(p) {
			// All is read, and the bastion may wait.
			r.w.socket.acknowledge()
		}
	}
	return n, err
}

// Write implements net.Conn. What it took is on its way, no more. If it cannot
// be written the wire dies: x/crypto would report the error of a write to one
// writer only, and leave the reader waiting.
func (w *wire) Write(p []byte) (int, error) {
	if !w.out.write(p) {
		return 0, w.err()
	}
	w.bytes.Add(int64(len(p)))
	return len(p), nil
}

// Close implements net.Conn. x/crypto calls it when its transport has ended.
// What has gathered is dropped: x/crypto's client has no last words.
func (w *wire) Close() error {
	w.die(net.ErrClosed)
	return nil
}

// die marks the wire dead and closes the socket. The first cause stays.
func (w *wire) die(cause error) {
	w.mu.Lock()
	first := w.cause == nil
	if first {
		w.cause = cause
		close(w.dead)
	}
	w.mu.Unlock()
	if first {
		w.out.end()
		_ = w.Conn.Close()
		w.end()
	}
}

// err returns why the wire died, or nil.
func (w *wire) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}

// isDead tells whether the wire has died.
func (w *wire) isDead() bool {
	select {
	case <-w.dead:
		return true
	default:
		return false
	}
}
