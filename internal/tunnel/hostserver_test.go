package tunnel

import (
	"net"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// hostServer is an SSH server that shows its host keys.
type hostServer struct{ cfg *ssh.ServerConfig }

func newHostServer(t testing.TB, edit func(*ssh.ServerConfig)) *hostServer {
	t.Helper()
	cfg := &ssh.ServerConfig{NoClientAuth: true}
	edit(cfg)
	return &hostServer{cfg}
}

// connect connects and disconnects. It returns the handshake's error.
func (s *hostServer) connect(t testing.TB, h *hostKeys) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	wg.Go(func() { // returns when the connection has ended
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if sc, _, _, err := ssh.NewServerConn(conn, s.cfg); err == nil {
			_ = sc.Wait()
		}
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cc := &ssh.ClientConfig{HostKeyCallback: h.verifier(t.Context()), HostKeyAlgorithms: h.algorithms()}
	sc, _, _, err := ssh.NewClientConn(conn, "b.example:22", cc)
	if err != nil {
		return err
	}
	_ = sc.Close()
	return nil
}
