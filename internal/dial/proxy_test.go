package dial

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestProxyHeader: what a proxy sends together with its answer is not lost, and
// one that never ends its answer is given up.
func TestProxyHeader(t *testing.T) {
	addr := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1024))
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n\r\nSSH-2.0-x\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	conn, err := (&Dialer{Address: "b:22", Proxy: &Proxy{Scheme: "http", Address: addr}}).dialProxy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := make([]byte, 11)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "SSH-2.0-x\r\n" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, ok := conn.(*net.TCPConn); !ok {
		t.Errorf("a %T: its socket's options cannot be set", conn)
	}

	endless := listen(t, func(c net.Conn) {
		for {
			if _, err := c.Write([]byte("X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")); err != nil {
				return
			}
		}
	})
	_, err = (&Dialer{Address: "b:22", Proxy: &Proxy{Scheme: "http", Address: endless}}).dialProxy(t.Context())
	if err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("an endless header: %v", err)
	}
}

// TestProxyRepeatsLogin: neither its status nor what is no HTTP shows the login.
func TestProxyRepeatsLogin(t *testing.T) {
	login := base64.StdEncoding.EncodeToString([]byte("somebody:hunter2"))
	for _, answer := range []string{
		"HTTP/1.1 407 not somebody, hunter2 or " + login, "HTTP/1.1 403 not somebody, hunter2 or " + login,
		"HTTP/1.1 500 not somebody, hunter2 or " + login, "not somebody, hunter2 or " + login,
	} {
		ours, theirs := net.Pipe()
		go func() { // returns when the answer is read
			_, _ = theirs.Read(make([]byte, 1024))
			_, _ = io.WriteString(theirs, answer+"\r\n\r\n")
		}()
		err := connectHTTP(context.Background(), ours, "b:22", "somebody", "hunter2")
		_, _ = ours.Close(), theirs.Close()
		if err == nil || !strings.Contains(err.Error(), "not …, … or …") {
			t.Errorf("%q: got %v", answer, err)
		}
	}
}

// FuzzProxyAnswer: whatever a proxy answers, there is an end to it.
func FuzzProxyAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n", "HTTP/1.1 407 No\r\nA: b\r\n\r\n", "HTTP/1.1 200", "\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50",
		"\x05\x02\x01\x00\x05\x01\x00\x03\xff", "\x05\xff", "\x04",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		for _, connect := range []func(net.Conn) error{
			func(c net.Conn) error { return connectHTTP(t.Context(), c, "b.example:22", "user", "secret") },
			func(c net.Conn) error { return connectSOCKS5(t.Context(), c, "b.example:22", "user", "secret") },
		} {
			ours, theirs := net.Pipe()
			go func() { // returns when ours is closed
				buf := make([]byte, 1024)
				for {
					if _, err := theirs.Read(buf); err != nil {
						return
					}
				}
			}()
			go func() { // as well
				_, _ = theirs.Write([]byte(answer))
				_ = theirs.Close()
			}()
			_ = ours.SetDeadline(time.Now().Add(time.Minute))
			if err := connect(ours); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("no end: %v", err)
			}
			_ = ours.Close()
		}
	})
}

// listen starts a loopback listener whose connections serve gets.
func listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // returns when ln is closed
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // returns with serve
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return ln.Addr().String()
}
