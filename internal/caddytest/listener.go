package caddytest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// CountingListener accepts connections and counts them.
type CountingListener struct {
	net.Listener
	Conns chan net.Conn
}

// ListenAndCount listens on the loopback.
func ListenAndCount(t *testing.T) *CountingListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &CountingListener{ln, make(chan net.Conn, 100)}
	done := make(chan struct{})
	// It returns when the listener is closed.
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			l.Conns <- conn
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
		for len(l.Conns) > 0 {
			_ = (<-l.Conns).Close()
		}
	})
	return l
}

// Accepted returns how many connections came that nobody has taken.
func (l *CountingListener) Accepted() int {
	time.Sleep(20 * time.Millisecond) // for the accepting goroutine
	return len(l.Conns)
}

// DialTCP connects to the listener.
func DialTCP(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// Loopback listens on the loopback until the test ends.
func Loopback(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// Expect waits for a connection that begins with what a client said.
func Expect(t *testing.T, conns <-chan net.Conn, said []byte) net.Conn {
	t.Helper()
	select {
	case conn, ok := <-conns:
		if !ok {
			t.Fatal("the listener is closed")
		}
		t.Cleanup(func() { _ = conn.Close() })
		got := make([]byte, len(said))
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, said) {
			t.Errorf("got %q of %q (%v)", got, said, err)
		}
		return conn
	case <-time.After(2 * time.Second):
		t.Fatal("no connection")
		return nil
	}
}

// PipeListener accepts what is sent to it.
type PipeListener struct {
	address net.Addr
	Conns   chan any // a net.Conn or an error
	once    sync.Once
	done    chan struct{}
}

// NewPipeListener returns a listener without an address of its own.
func NewPipeListener() *PipeListener {
	return NewPipeListenerAt(&net.UnixAddr{Name: "pipe", Net: "unix"})
}

// NewPipeListenerAt returns a listener at an address that it only says.
func NewPipeListenerAt(address net.Addr) *PipeListener {
	return &PipeListener{address: address, Conns: make(chan any), done: make(chan struct{})}
}

func (l *PipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.Conns:
		if err, ok := c.(error); ok {
			return nil, err
		}
		return c.(net.Conn), nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *PipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *PipeListener) Addr() net.Addr { return l.address }

func (l *PipeListener) Dial() net.Conn {
	client, server := net.Pipe()
	l.Conns <- server
	return client
}
