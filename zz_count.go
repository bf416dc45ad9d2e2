package sshtunnel

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// countingListener accepts connections and counts them.
type countingListener struct {
	net.Listener
	conns chan net.Conn
}

func listenAndCount(t *testing.T) *countingListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &countingListener{ln, make(chan net.Conn, 100)}
	done := make(chan struct{})
	// It returns when the listener is closed.
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			l.conns <- conn
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
		for len(l.conns) > 0 {
			_ = (<-l.conns).Close()
		}
	})
	return l
}

// accepted returns how many connections came that nobody has taken.
func (l *countingListener) accepted() int {
	time.Sleep(20 * time.Millisecond) // for the accepting goroutine
	return len(l.conns)
}

// dialTCP connects to the listener.
func dialTCP(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// expect waits for a connection that begins with what a client said.
func expect(t *testing.T, conns <-chan net.Conn, said []byte) net.Conn {
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

// pipeListener accepts what is sent to it.
type pipeListener struct {
	address net.Addr
	conns   chan any // a net.Conn or an error
	once    sync.Once
	done    chan struct{}
}

func newPipeListener() *pipeListener {
	return newPipeListenerAt(&net.UnixAddr{Name: "pipe", Net: "unix"})
}

func newPipeListenerAt(address net.Addr) *pipeListener {
	return &pipeListener{address: address, conns: make(chan any), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		if err, ok := c.(error); ok {
			return nil, err
		}
		return c.(net.Conn), nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return l.address }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// socketPath returns a path for a socket, whose length is bounded.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fwd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "sock")
}

// othersDir returns a directory that another user owns, if this one may give it
// away: only root can.
func othersDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Dir(socketPath(t))
	if nobody, err := user.Lookup("nobody"); err == nil && os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(nobody.Uid)
		if err := os.Chown(dir, uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
