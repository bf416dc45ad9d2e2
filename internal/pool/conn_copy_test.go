package pool

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// tcpPair returns both ends of a TCP connection.
func tcpPair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	addr := listen(t, func(c net.Conn) {
		accepted <- c
		<-t.Context().Done() // the listener closes it after that
	})
	ours, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	return ours, <-accepted
}

// TestConnCopies: WriteTo and ReadFrom copy to and from a socket, in order with reads and
// writes before and after them, up to the end of the stream.
func TestConnCopies(t *testing.T) {
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	for _, s := range tunneltest.Servers {
		t.Run(s.Name, func(t *testing.T) {
			h := open(t, s.Start(t), quick())
			got := make(chan []byte, 1)
			c := mustDial(t, h, listen(t, func(c net.Conn) {
				_, _ = c.Write(data)
				_ = c.(*net.TCPConn).CloseWrite()
				all, _ := io.ReadAll(c)
				got <- all
			}))

			first := make([]byte, 1000)
			if _, err := io.ReadFull(c, first); err != nil {
				t.Fatal(err)
			}
			ours, theirs := tcpPair(t)
			rest := make(chan []byte, 1)
			go func() {
				all, _ := io.ReadAll(theirs)
				rest <- all
			}()
			if n, err := c.WriteTo(ours); n != int64(len(data)-len(first)) || err != nil {
				t.Fatalf("WriteTo: %d bytes, %v", n, err)
			}
			_ = ours.Close()
			if !bytes.Equal(append(first, <-rest...), data) {
				t.Error("what was read differs from what was sent")
			}

			if _, err := c.Write(data[:1000]); err != nil {
				t.Fatal(err)
			}
			ours, theirs = tcpPair(t)
			go func() {
				_, _ = theirs.Write(data[1000:2_000_000])
				_ = theirs.(*net.TCPConn).CloseWrite()
			}()
			if n, err := c.ReadFrom(ours); n != 1_999_000 || err != nil {
				t.Fatalf("ReadFrom: %d bytes, %v", n, err)
			}
			if n, err := c.ReadFrom(bytes.NewReader(data[2_000_000:])); n != int64(len(data)-2_000_000) || err != nil {
				t.Fatalf("ReadFrom: %d bytes, %v", n, err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(<-got, data) {
				t.Error("what arrived differs from what was written")
			}
			if r, w := c.Stats(); r != int64(len(data)) || w != int64(len(data)) {
				t.Errorf("Stats: %d, %d", r, w)
			}
		})
	}
}

// copying is a WriteTo and a ReadFrom under way, on a link that is frozen.
type copying struct {
	conn          *Conn
	bench         *bench
	wrote, read   chan error
	source, drain net.Conn // the far ends of what is read from and written to
}

func startCopying(t *testing.T) *copying {
	b := newBench(t, quick(), nil)
	k := &copying{bench: b, wrote: make(chan error, 1), read: make(chan error, 1)}
	k.conn = mustDial(t, b.Pool, listen(t, echo))
	roundTrip(t, k.conn)
	b.link.Freeze(sshtest.Up | sshtest.Down)
	to, drain := tcpPair(t)
	from, source := tcpPair(t)
	k.source, k.drain = source, drain
	go func() {
		_, err := k.conn.WriteTo(to)
		k.wrote <- err
	}()
	go func() {
		_, err := k.conn.ReadFrom(from)
		k.read <- err
	}()
	go func() { // more than the frozen link and all buffers take
		_, _ = source.Write(make([]byte, 64<<20))
	}()
	sshtest.Eventually(t, 10*time.Second, "a write that waits for the link", func() bool {
		_, before := k.conn.Stats()
		time.Sleep(20 * time.Millisecond)
		_, after := k.conn.Stats()
		return before > 0 && before == after && k.conn.Queued() > 0
	})
	return k
}

// want waits for the ends of both.
func (k *copying) want(t *testing.T, want error) {
	t.Helper()
	within(t, 10*time.Second, "WriteTo and ReadFrom", func() {
		if err := <-k.wrote; !errors.Is(err, want) {
			t.Errorf("WriteTo: %v", err)
		}
		if err := <-k.read; !errors.Is(err, want) {
			t.Errorf("ReadFrom: %v", err)
		}
	})
}

// TestConnCopiesEnd: Close, a deadline and the loss of the connection end WriteTo and
// ReadFrom at once, whatever the link does.
func TestConnCopiesEnd(t *testing.T) {
	t.Run("close", func(t *testing.T) {
		k := startCopying(t)
		_ = k.conn.Close()
		k.want(t, net.ErrClosed)
	})
	t.Run("deadline", func(t *testing.T) {
		k := startCopying(t)
		_ = k.conn.SetDeadline(time.Now().Add(time.Millisecond))
		k.want(t, os.ErrDeadlineExceeded)
	})
	t.Run("loss", func(t *testing.T) {
		k := startCopying(t)
		k.bench.link.Reset()
		k.want(t, io.ErrUnexpectedEOF)
	})
}

// TestConnCopyFails: an error of what WriteTo writes to, or ReadFrom reads from, is theirs,
// and the channel goes on.
func TestConnCopyFails(t *testing.T) {
	b := newBench(t, quick(), nil)
	c := mustDial(t, b.Pool, listen(t, echo))
	roundTrip(t, c)
	closed, _ := tcpPair(t)
	_ = closed.Close()
	if _, err := c.ReadFrom(closed); !errors.Is(err, net.ErrClosed) {
		t.Errorf("ReadFrom: %v", err)
	}
	if _, err := c.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteTo(closed); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WriteTo: %v", err)
	}
	roundTrip(t, c)
}

// TestConnClosesBesideASource: Close closes the channel at once, though what ReadFrom reads
// from says nothing and stays open.
func TestConnClosesBesideASource(t *testing.T) {
	b := newBench(t, quick(), nil)
	c := mustDial(t, b.Pool, listen(t, echo))
	roundTrip(t, c)
	from, source := tcpPair(t)
	read := make(chan error, 1)
	go func() {
		_, err := c.ReadFrom(from)
		read <- err
	}()
	if _, err := source.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	sshtest.Eventually(t, 10*time.Second, "the channel's end", func() bool { return b.bastion.Stats().Channels == 0 })
	_ = source.Close()
	if err := <-read; err == nil {
		t.Error("ReadFrom: no error")
	}
}
