//go:build unix

package sshtest

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// TestBastionForwards: the bastion listens for x/crypto's client as sshd would.
func TestBastionListens(t *testing.T) {
	b, client := keyBastion(t, BastionOptions{})
	path := filepath.Join(t.TempDir(), "s")
	for _, test := range []struct{ network, addr string }{
		{"tcp", fmt.Sprintf("127.0.0.1:%d", NewPort(t))},
		{"unix", path},
	} {
		l, err := client.Listen(test.network, test.addr)
		if err != nil {
			t.Fatal(err)
		}
		if n := b.Stats().Forwards; n != 1 {
			t.Errorf("%d forwards", n)
		}
		peer, err := net.Dial(test.network, test.addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if test.network == "tcp" && c.RemoteAddr().String() != peer.LocalAddr().String() {
			t.Errorf("the originator is %s, not %s", c.RemoteAddr(), peer.LocalAddr())
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		}()
		_, _ = io.WriteString(peer, "hello")
		closeWrite(peer)
		if got := readAll(t, peer); got != "hello" {
			t.Errorf("got %q", got)
		}
		_, _ = c.Close(), peer.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		Eventually(t, 5*time.Second, "the end of the forward", func() bool {
			_, err := net.Dial(test.network, test.addr)
			return err != nil && b.Stats().Forwards == 0
		})
	}
	if n := b.Stats().Forwarded; n != 2 {
		t.Errorf("%d connections forwarded", n)
	}
}

// TestBastionRefusesForwards: what is held, not permitted or not asked for is
// refused, and a forward ends with its connection.
func TestBastionRefusesForwards(t *testing.T) {
	port := NewPort(t)
	b, client := keyBastion(t, BastionOptions{PermitListen: func(_, addr string) error {
		if addr != fmt.Sprintf("127.0.0.1:%d", port) {
			return errProhibited
		}
		return nil
	}})
	ask := func(name, host string, port int) bool {
		ok, _, err := client.SendRequest(name, true, ssh.Marshal(forwardRequest{host, uint32(port)}))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	switch {
	case ask("tcpip-forward", "localhost", port+1):
		t.Error("granted what PermitListen does not")
	case ask("cancel-tcpip-forward", "localhost", port):
		t.Error("cancelled what it was not asked for")
	}
	b.Misbehave(Faults{RefuseForwards: true})
	if ask("tcpip-forward", "localhost", port) {
		t.Error("granted in spite of RefuseForwards")
	}
	b.Misbehave(Faults{})
	if !ask("tcpip-forward", "0.0.0.0", port) {
		t.Error("refused")
	}
	if s := b.Stats(); s.ForwardRequests != 3 || s.Forwards != 1 {
		t.Errorf("%d requests, %d forwards", s.ForwardRequests, s.Forwards)
	}
	_ = client.Close()
	Eventually(t, 5*time.Second, "the end of the forward", func() bool { return b.Stats().Forwards == 0 })
}
