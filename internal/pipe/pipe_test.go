package pipe

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestMain(m *testing.M) {
	sshtest.Isolate()
	os.Exit(m.Run())
}

// TestCopy copies both ways and keeps half-closes apart. Cuts are in package tunnel.
func TestCopy(t *testing.T) {
	pair := func() (*net.TCPConn, *net.TCPConn) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		a, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
		return a.(*net.TCPConn), b.(*net.TCPConn)
	}
	client, a := pair()
	b, target := pair()
	done := make(chan error, 1)
	var up, down int64
	go func() {
		var err error
		up, down, err = Copy(a, b)
		done <- err
	}()
	_, _ = client.Write([]byte("ping"))
	_ = client.CloseWrite()
	if got, err := io.ReadAll(target); string(got) != "ping" || err != nil {
		t.Fatalf("target got %q, %v", got, err)
	}
	_, _ = target.Write([]byte("ponged"))
	_ = target.Close()
	if got, err := io.ReadAll(client); string(got) != "ponged" || err != nil {
		t.Fatalf("client got %q, %v", got, err)
	}
	if err := <-done; err != nil || up != 4 || down != 6 {
		t.Fatalf("%d, %d, %v", up, down, err)
	}
}
