package pool

import (
	"io"
	"net"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/pipe"
)

// TestCut: a stream that a lost connection has cut is reset, and not ended.
func TestCut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	a, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, quick(), nil)
	c := mustDial(t, b.Pool, listen(t, func(c net.Conn) {
		_, _ = c.Write([]byte("half of "))
		_, _ = io.Copy(io.Discard, c)
	}))
	done := make(chan error, 1)
	go func() {
		_, _, err := pipe.Copy(a, c)
		done <- err
	}()
	if _, err := io.ReadFull(client, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	b.link.Reset()
	wantLost(t, <-done)
	if _, err := client.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("the client's stream ended with %v, want a reset", err)
	}
}
