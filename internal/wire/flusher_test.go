package wire

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// gatedConn is a socket whose writes wait until they are let through.
type gatedConn struct {
	net.Conn
	// begun gets the size of each write that begins.
	begun chan int
	// gate lets one write through, with the error it is to have.
	gate chan error
	// closed is closed by Close, which ends a write.
	closed    chan struct{}
	closeOnce sync.Once
	got       bytes.Buffer
}

func newGatedConn() *gatedConn {
	return &gatedConn{begun: make(chan int, 100), gate: make(chan error), closed: make(chan struct{})}
}

func (c *gatedConn) Write(p []byte) (int, error) {
	c.begun <- len(p)
	select {
	case err := <-c.gate:
		if err != nil {
			return 0, err
		}
		return c.got.Write(p)
	case <-c.closed:
		return 0, net.ErrClosed
	}
}

func (c *gatedConn) Close() error {
	c.closeOnce.Do(func() { close(c.closed) })
	return nil
}

func waitFor[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(sshtest.Patience):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func waitUntilFull(t *testing.T, f *flusher) {
	t.Helper()
	sshtest.Eventually(t, 10*time.Second, "a full flusher", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.size >= f.limit
	})
}

// TestFlusherGathers: what is written during a write goes out in one, in
// order, and then the flusher holds nothing.
func TestFlusherGathers(t *testing.T) {
	conn := newGatedConn()
	w := New(conn, time.Second)
	defer w.Die(net.ErrClosed)
	var want bytes.Buffer
	write := func(s string) {
		want.WriteString(s)
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("wrote %d of %q: %v", n, s, err)
		}
	}
	write("first")
	if n := waitFor(t, "first write", conn.begun); n != 5 {
		t.Fatalf("the first write has %d bytes", n)
	}
	for range 10 {
		write("packet")
	}
	if !w.out.unsent() {
		t.Error("nothing unsent while a write waits")
	}
	conn.gate <- nil
	if n := waitFor(t, "second write", conn.begun); n != 60 {
		t.Fatalf("the second write has %d of 60 bytes", n)
	}
	conn.gate <- nil
	sshtest.Eventually(t, 10*time.Second, "the flusher's end", func() bool { return !w.out.unsent() })
	if conn.got.String() != want.String() {
		t.Errorf("got %q, want %q", conn.got.String(), want.String())
	}
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	if len(w.out.gathered) != 0 {
		t.Errorf("an idle flusher holds %d buffers", len(w.out.gathered))
	}
}

// TestFlusherIsBounded: writers wait when the socket takes nothing, and go on,
// with every byte in its place, when it does again.
func TestFlusherIsBounded(t *testing.T) {
	ours, theirs := net.Pipe()
	w := New(ours, time.Second)
	defer w.Die(net.ErrClosed)
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	written := make(chan error, 1)
	go func() {
		for p := data; len(p) > 0; {
			n := min(len(p), 1+len(p)%40_000)
			if _, err := w.Write(p[:n]); err != nil {
				written <- err
				return
			}
			p = p[n:]
		}
		written <- nil
	}()
	waitUntilFull(t, w.out)
	time.Sleep(20 * time.Millisecond)
	if n := w.bytes.Load(); n > gatherMost {
		t.Errorf("it took %d bytes", n)
	}
	got := make([]byte, len(data))
	if _, err := io.ReadFull(theirs, got); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, "end of the writes", written); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("what arrived differs from what was written")
	}
}

// pacedConn is a socket that takes so many bytes a second.
type pacedConn struct {
	net.Conn
	perSecond atomic.Int64
}

func (c *pacedConn) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(c.perSecond.Load()))
	return len(p), nil
}

func (c *pacedConn) Close() error { return nil }

// TestFlusherHoldsWhatDrainsSoon: what it holds, and so what lies in front of a
// small packet, follows the speed of the socket, up and down.
func TestFlusherHoldsWhatDrainsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &pacedConn{}
		conn.perSecond.Store(1 << 30)
		w := New(conn, time.Second)
		defer func() {
			w.Die(net.ErrClosed)
			time.Sleep(time.Second) // the flusher ends; the bubble's clock stands still once we have returned
		}()
		for _, pace := range []struct {
			perSecond int64
			limit     int
		}{
			{1 << 30, gatherMost},  // a fast network
			{5 << 17, gatherLeast}, // 5 Mbit/s
			{4 << 20, 4 << 20 / 50},
			{1 << 30, gatherMost},
		} {
			conn.perSecond.Store(pace.perSecond)
			for range pace.perSecond / 4 / (32 << 10) {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					t.Fatal(err)
				}
			}
			w.out.mu.Lock()
			limit := w.out.limit
			w.out.mu.Unlock()
			if limit < pace.limit-pace.limit/10 || limit > pace.limit+pace.limit/10 {
				t.Errorf("at %d bytes a second it holds %d, want about %d", pace.perSecond, limit, pace.limit)
			}
		}
	})
}

// TestFlusherEnds: the death of the connection ends a write of the flusher, and
// whoever waits for room.
func TestFlusherEnds(t *testing.T) {
	conn := newGatedConn()
	w := New(conn, time.Second)
	cause := errors.New("the cause")
	written := make(chan error, 1)
	go func() {
		for {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				written <- err
				return
			}
		}
	}()
	waitFor(t, "write", conn.begun)
	waitUntilFull(t, w.out)
	w.Die(cause)
	if err := waitFor(t, "end of the writer", written); !errors.Is(err, cause) {
		t.Errorf("the writer got %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, cause) {
		t.Errorf("a write after the end got %v", err)
	}
	if len(w.out.gathered) != 0 {
		t.Error("it kept its buffers")
	}
}

// TestFailedWriteEndsTheWire: a write that fails after it was taken over.
func TestFailedWriteEndsTheWire(t *testing.T) {
	conn := newGatedConn()
	w := New(conn, time.Second)
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("no route to host")
	conn.gate <- cause
	waitFor(t, "death", w.Dead())
	waitFor(t, "close of the socket", conn.closed)
	if _, err := w.Write([]byte("x")); !errors.Is(err, cause) || !errors.Is(w.Err(), cause) {
		t.Errorf("a write got %v, the cause is %v", err, w.Err())
	}
}
