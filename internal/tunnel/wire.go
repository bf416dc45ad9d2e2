package tunnel

import (
	"bufio"
	"context"
	"net"
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

	// Since is when the connection was made, and what its times are counted from.
	Since time.Time
	// silence is how long no byte must arrive to count as a silence.
	silence time.Duration
	// heard is when the last byte arrived.
	heard atomic.Int64
	// resumed is when a byte last arrived after a silence. It is set before heard.
	resumed atomic.Int64
	// greeted is when the first byte arrived. It is set before heard.
	greeted time.Duration
	// preamble is what arrives until the end of the first key exchange, and greeting
	// what noteGreeting finds in it.
	preamble preamble
	greeting atomic.Pointer[Greeting]
	// bytes counts both directions.
	bytes atomic.Int64
	// stage is how far the login is, and piece how much more the reader may have
	// of a piece, which is its own; see pace.go.
	stage atomic.Int32
	piece int

	// ctx ends, with its cause, when the connection dies.
	ctx    context.Context
	cancel context.CancelCauseFunc
	closed atomic.Bool
}

// newWire returns the conn under an SSH transport on a connection. A time of silence
// or more without a byte is a silence for HeardSince.
func newWire(conn net.Conn, silence time.Duration) *wire {
	w := &wire{Conn: conn, Since: time.Now(), silence: silence}
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	w.in = bufio.NewReaderSize(socketReader{w}, wireReadBuffer)
	w.server = versionReader{in: w.in, preamble: &w.preamble}
	w.socket = socketOptionsOf(conn)
	w.out = newFlusher(conn, w.socket, w.die)
	return w
}

// now is the time since the wire was made; monotonic, and never zero.
func (w *wire) now() time.Duration { return time.Since(w.Since) + 1 }

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
		if now-r.w.lastHeard() >= r.w.silence {
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
	w.cancel(cause)
	if !w.closed.Swap(true) {
		w.out.end()
		_ = w.Conn.Close()
	}
}

// Context returns a context that ends when the wire dies, with why as its cause.
func (w *wire) Context() context.Context { return w.ctx }

// dead is closed when the wire dies.
func (w *wire) dead() <-chan struct{} { return w.ctx.Done() }

// err returns why the wire died, or nil.
func (w *wire) err() error { return context.Cause(w.ctx) }

// isDead tells whether the wire has died.
func (w *wire) isDead() bool { return w.ctx.Err() != nil }

// Stage returns how far the login is.
func (w *wire) Stage() int32 { return w.stage.Load() }

// AwaitByte waits for the first byte that the peer sends.
func (w *wire) AwaitByte() error {
	_, err := w.in.Peek(1)
	return err
}

// Preamble returns what the peer has sent so far, if the first key exchange is not
// over. Nothing more is kept.
func (w *wire) Preamble() []byte { return w.preamble.end() }

// FirstHeard is when the first byte arrived.
func (w *wire) FirstHeard() time.Time { return w.Since.Add(w.greeted) }

// Bytes returns how many bytes were read and written.
func (w *wire) Bytes() int64 { return w.bytes.Load() }

// Unsent tells whether there is anything that the socket has not taken yet.
func (w *wire) Unsent() bool { return w.out.unsent() }

// SetUserTimeout bounds how long what was sent may stay unacknowledged, where the
// system can; 0 is the system's default.
func (w *wire) SetUserTimeout(d time.Duration) { w.socket.setUserTimeout(d) }

// SetHeard sets when the last byte arrived, for tests.
func (w *wire) SetHeard(at time.Duration) { w.heard.Store(int64(at)) }

// heardSince is for how long the peer was heard after a time: up to the last
// byte, from the end of the last silence on.
func (w *wire) heardSince(t time.Time) time.Duration {
	return w.lastHeard() - max(t.Sub(w.Since), time.Duration(w.resumed.Load()))
}
