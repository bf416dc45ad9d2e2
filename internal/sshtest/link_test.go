package sshtest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// linkTo returns a link and a connection through it.
func linkTo(t *testing.T, target string) (*Link, *net.TCPConn) {
	t.Helper()
	l := NewLink(t, target)
	return l, linkDial(t, l)
}

func linkDial(t *testing.T, l *Link) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	Eventually(t, Patience, "the connection's other half", func() bool { return l.Active() > 0 })
	return c.(*net.TCPConn)
}

// expect reads exactly what it should, within a time.
func expect(t *testing.T, c net.Conn, want string, within time.Duration) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(within))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q and %v, not %q", got[:n], err, want)
	}
}

// expectNothing fails the test if a byte or an end comes.
func expectNothing(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes and %v, not nothing", n, err)
	}
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func TestLinkRelays(t *testing.T) {
	l, c := linkTo(t, serveTCP(t, echo))
	send(t, c, "hello")
	expect(t, c, "hello", Patience)
	_ = c.CloseWrite()
	if rest := readAll(t, c); rest != "" {
		t.Errorf("and then %q", rest)
	}
	Eventually(t, Patience, "no connection", func() bool { return l.Active() == 0 })
	up, down := l.Bytes()
	if l.Accepted() != 1 || up != 5 || down != 5 {
		t.Errorf("%d connections, %d bytes up, %d down", l.Accepted(), up, down)
	}
}

func TestLinkFreezes(t *testing.T) {
	for name, test := range map[string]struct {
		direction Direction
		arrives   bool // what is sent while frozen arrives at the target
	}{"up": {Up, false}, "down": {Down, true}, "both": {Both, false}} {
		t.Run(name, func(t *testing.T) {
			arrived := make(chan struct{})
			l, c := linkTo(t, serveTCP(t, func(c *net.TCPConn) {
				buf := make([]byte, 5)
				_, _ = io.ReadFull(c, buf)
				close(arrived)
				_, _ = c.Write(buf)
				echo(c)
			}))
			l.Freeze(test.direction)
			send(t, c, "hello")
			if test.arrives {
				<-arrived
			}
			expectNothing(t, c)
			if !test.arrives {
				select {
				case <-arrived:
					t.Error("the target got it")
				default:
				}
			}
			_ = c.CloseWrite()
			expectNothing(t, c)
			l.Thaw(test.direction)
			if got := readAll(t, c); got != "hello" {
				t.Errorf("thawed, it brought %q", got)
			}
		})
	}
}

// What is sent into a frozen link must make the sender wait, and all of it
// come when the link thaws.
func TestLinkFreezeIsBackpressure(t *testing.T) {
	Takes(t, 4*time.Second)
	received := make(chan []byte, 1)
	l, c := linkTo(t, serveTCP(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		received <- b
	}))
	l.Freeze(Up)
	const size = 16 << 20 // more than the kernel's buffers
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.CopyN(c, Body(), size)
		_ = c.CloseWrite()
	}()
	select {
	case <-done:
		t.Error("the sender did not wait")
	case <-time.After(300 * time.Millisecond):
	}
	if up, _ := l.Bytes(); up != 0 {
		t.Errorf("%d bytes went through", up)
	}
	l.Thaw(Up)
	<-done
	want, _ := io.ReadAll(io.LimitReader(Body(), size))
	if got := <-received; !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, or others", len(got))
	}
}

// A freeze must take hold amid a write that the target does not take.
func TestLinkFreezesAmidAWrite(t *testing.T) {
	read := make(chan struct{})
	l, c := linkTo(t, serveTCP(t, func(c *net.TCPConn) {
		<-read
		_, _ = io.Copy(io.Discard, c)
	}))
	go func() { _, _ = io.Copy(c, Body()) }()
	last := int64(-1)
	Eventually(t, Patience, "a target's full buffers", func() bool {
		time.Sleep(50 * time.Millisecond)
		up, _ := l.Bytes()
		same := up == last
		last = up
		return same
	})
	if !within(Patience, func() { l.Freeze(Both) }) {
		t.Fatal("Freeze hangs")
	}
	before, _ := l.Bytes()
	close(read)
	time.Sleep(50 * time.Millisecond)
	if after, _ := l.Bytes(); after != before {
		t.Errorf("%d bytes went through", after-before)
	}
	l.Thaw(Both)
	Eventually(t, Patience, "bytes", func() bool { up, _ := l.Bytes(); return up > before })
}

func TestLinkFreezesNewConnections(t *testing.T) {
	l := NewLink(t, serveTCP(t, echo))
	l.Freeze(Both)
	c := linkDial(t, l)
	send(t, c, "hello")
	expectNothing(t, c)
	l.Thaw(Both)
	expect(t, c, "hello", Patience)
}

func TestLinkCuts(t *testing.T) {
	for name, test := range map[string]struct {
		cut   func(*Link)
		isEnd func(error) bool
	}{
		"FIN": {(*Link).Cut, func(err error) bool { return errors.Is(err, io.EOF) }},
		"RST": {(*Link).Reset, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
	} {
		for _, frozen := range []Direction{0, Both} {
			t.Run(name, func(t *testing.T) {
				ended := make(chan error, 1)
				l, c := linkTo(t, serveTCP(t, func(c *net.TCPConn) {
					_, err := io.ReadFull(c, make([]byte, 1<<20))
					ended <- err
				}))
				l.Freeze(frozen)
				send(t, c, "on its way")
				test.cut(l)
				_ = c.SetReadDeadline(time.Now().Add(Patience))
				if _, err := c.Read(make([]byte, 1)); !test.isEnd(err) {
					t.Errorf("the client got %v", err)
				}
				_ = c.Close()
				select {
				case err := <-ended:
					if errors.Is(err, io.ErrUnexpectedEOF) {
						err = io.EOF
					}
					if !test.isEnd(err) {
						t.Errorf("the target got %v", err)
					}
				case <-time.After(Patience):
					t.Error("the target got no end")
				}
				Eventually(t, Patience, "no connection", func() bool { return l.Active() == 0 })
				l.Thaw(Both)
				next := linkDial(t, l)
				send(t, next, "x") // new connections work
			})
		}
	}
}

// An end that one peer makes is passed on as what it is.
func TestLinkPassesResetsOn(t *testing.T) {
	ended := make(chan error, 1)
	l, c := linkTo(t, serveTCP(t, func(c *net.TCPConn) {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}))
	l.Freeze(Both)
	_ = c.SetLinger(0)
	_ = c.Close()
	select {
	case err := <-ended:
		t.Fatalf("it went through a frozen link: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	l.Thaw(Both)
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the target got %v", err)
	}
}

func TestLinkDelays(t *testing.T) {
	Takes(t, time.Second)
	l, c := linkTo(t, serveTCP(t, echo))
	const delay = 60 * time.Millisecond
	l.SetDelay(delay)
	start := time.Now()
	// Bytes that are sent together arrive together: a delay is no bandwidth.
	const pieces = 1000
	for range pieces {
		send(t, c, "hello")
		time.Sleep(time.Millisecond) // lest they become one piece
	}
	for range pieces {
		expect(t, c, "hello", Patience)
	}
	if took := time.Since(start); took < 2*delay || took > pieces*delay/2 {
		t.Errorf("there and back took %v with a delay of %v", took, delay)
	}
}

func TestLinkLimitsBandwidth(t *testing.T) {
	l := NewLink(t, serveTCP(t, func(c *net.TCPConn) { _, _ = io.CopyN(c, Body(), 100<<10) }))
	l.SetBandwidth(200 << 10)
	start := time.Now()
	got := readAll(t, linkDial(t, l))
	if took := time.Since(start); len(got) != 100<<10 || took < 300*time.Millisecond {
		t.Errorf("%d bytes took %v at 200 KiB a second", len(got), took)
	}
}

func TestLinkCorrupts(t *testing.T) {
	l, c := linkTo(t, serveTCP(t, echo))
	sent := []byte("ping")
	l.Corrupt(Down)
	for i, want := range []string{"piog", "ping"} { // once only
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Errorf("%d: got %q, %v; want %q", i, got, err, want)
		}
	}
}

func TestLinkRefuses(t *testing.T) {
	l, c := linkTo(t, serveTCP(t, echo))
	l.Refuse()
	if _, err := net.Dial("tcp", l.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connecting: %v", err)
	}
	send(t, c, "hello")
	expect(t, c, "hello", Patience)
	l.Accept()
	c = linkDial(t, l)
	send(t, c, "again")
	expect(t, c, "again", Patience)
	if l.Accepted() != 2 {
		t.Errorf("accepted %d", l.Accepted())
	}
}

func TestLinkSetTarget(t *testing.T) {
	l := NewLink(t, "127.0.0.1:1")
	c, err := net.Dial("tcp", l.Addr())
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	// Nothing listens there, which shows as a reset, sooner or later.
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connecting to nothing: %v", err)
	}
	l.SetTarget(serveTCP(t, echo))
	c = linkDial(t, l)
	send(t, c, "hello")
	expect(t, c, "hello", Patience)
}

func TestLinkCloseIsIdempotent(t *testing.T) {
	l, c := linkTo(t, serveTCP(t, echo))
	l.Freeze(Both)
	send(t, c, "hello")
	if !within(Patience, func() { _, _ = l.Close(), l.Close() }) {
		t.Fatal("Close hangs")
	}
	_ = c.SetReadDeadline(time.Now().Add(Patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open: %v", err)
	}
}
