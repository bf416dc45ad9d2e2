// Package wire is the net.Conn below an SSH transport: it acknowledges at once, gathers
// writes, paces what the server sends before the login, and records the beginning of
// what it says. It speaks no SSH, and knows neither channels nor pools. The packages of
// SSH connections and of channels import it; forward may for its buffers.
package wire

import (
	"bufio"
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// readBuffer is how much is read from a server in one system call at
// most. x/crypto's own buffer is 4 KiB.
const readBuffer = 64 << 10

// Conn is the net.Conn under an SSH transport. It knows, before x/crypto does,
// when the connection has died, and when the peer was last heard of.
type Conn struct {
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
	// what NoteGreeting finds in it.
	preamble preamble
	greeting atomic.Pointer[Greeting]
	// bytes counts both directions.
	bytes atomic.Int64
	// stage is how far the login is, and piece how much more the reader may have
	// of a piece, which is its own; see pace.go.
	stage atomic.Int32
	piece int
	// patient says that the server does not wait for acknowledgements.
	patient atomic.Bool

	// ctx ends, with its cause, when the connection dies.
	ctx    context.Context
	cancel context.CancelCauseFunc
	closed atomic.Bool
}

// New returns the conn under an SSH transport on a connection. A time of silence
// or more without a byte is a silence for HeardSince.
func New(conn net.Conn, silence time.Duration) *Conn {
	c := &Conn{Conn: conn, Since: time.Now(), silence: silence}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.in = bufio.NewReaderSize(socketReader{c}, readBuffer)
	c.server = versionReader{in: c.in, preamble: &c.preamble}
	c.socket = socketOptionsOf(conn)
	c.out = newFlusher(conn, c.socket, c.Die)
	return c
}

// Now is the time since the connection was made; monotonic, and never zero.
func (c *Conn) Now() time.Duration { return time.Since(c.Since) + 1 }

// LastHeard is when the last byte arrived, as Now counts; 0 before the first.
func (c *Conn) LastHeard() time.Duration { return time.Duration(c.heard.Load()) }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if c.Stage() < StageOpen && c.bytes.Load() > preAuthLimit {
		c.Die(failure.ErrPreAuthLimit)
	}
	n, err := 0, net.ErrClosed
	if p, ok := c.pace(p); ok {
		n, err = c.server.Read(p)
		c.piece -= n
	}
	if err != nil {
		c.Die(err)
	}
	return n, err
}

// socketReader reads from the socket for a connection's buffer.
type socketReader struct{ c *Conn }

func (r socketReader) Read(p []byte) (int, error) {
	n, err := r.c.Conn.Read(p)
	if n > 0 {
		if r.c.heard.Load() == 0 {
			r.c.greeted = r.c.Now()
		}
		r.c.preamble.add(p[:n])
		now := r.c.Now()
		if now-r.c.LastHeard() >= r.c.silence {
			r.c.resumed.Store(int64(now))
		}
		r.c.heard.Store(int64(now))
		r.c.bytes.Add(int64(n))
		if n < len(p) && !r.c.patient.Load() {
			// All is read, and the server may wait.
			r.c.socket.acknowledge()
		}
	}
	return n, err
}

// Write implements net.Conn. What it took is on its way, no more. If it cannot
// be written the connection dies: x/crypto would report the error of a write to one
// writer only, and leave the reader waiting.
func (c *Conn) Write(p []byte) (int, error) {
	if !c.out.write(p) {
		return 0, c.Err()
	}
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

// Close implements net.Conn. x/crypto calls it when its transport has ended.
// What has gathered is dropped: x/crypto's client has no last words.
func (c *Conn) Close() error {
	c.Die(net.ErrClosed)
	return nil
}

// Die marks the connection dead and closes the socket. The first cause stays.
func (c *Conn) Die(cause error) {
	c.cancel(cause)
	if !c.closed.Swap(true) {
		c.out.end()
		_ = c.Conn.Close()
	}
}

// Context returns a context that ends when the connection dies, with why as its cause.
func (c *Conn) Context() context.Context { return c.ctx }

// Dead is closed when the connection dies.
func (c *Conn) Dead() <-chan struct{} { return c.ctx.Done() }

// Err returns why the connection died, or nil.
func (c *Conn) Err() error { return context.Cause(c.ctx) }

// IsDead reports whether the connection has died.
func (c *Conn) IsDead() bool { return c.ctx.Err() != nil }

// Stage returns how far the login is.
func (c *Conn) Stage() Stage { return Stage(c.stage.Load()) }

// AwaitByte waits for the first byte that the peer sends.
func (c *Conn) AwaitByte() error {
	_, err := c.in.Peek(1)
	return err
}

// Preamble returns what the peer has sent so far, if the first key exchange is not
// over. Nothing more is kept.
func (c *Conn) Preamble() []byte { return c.preamble.end() }

// FirstHeard is when the first byte arrived.
func (c *Conn) FirstHeard() time.Time { return c.Since.Add(c.greeted) }

// Bytes returns how many bytes were read and written.
func (c *Conn) Bytes() int64 { return c.bytes.Load() }

// Unsent reports whether there is anything that the socket has not taken yet.
func (c *Conn) Unsent() bool { return c.out.unsent() }

// SetUserTimeout bounds how long what was sent may stay unacknowledged, where the
// system can; 0 is the system's default.
func (c *Conn) SetUserTimeout(d time.Duration) { c.socket.setUserTimeout(d) }

// SetHeard sets when the last byte arrived, for tests.
func (c *Conn) SetHeard(at time.Duration) { c.heard.Store(int64(at)) }

// HeardSince is for how long the peer was heard after a time: up to the last
// byte, from the end of the last silence on.
func (c *Conn) HeardSince(t time.Time) time.Duration {
	return c.LastHeard() - max(t.Sub(c.Since), time.Duration(c.resumed.Load()))
}
