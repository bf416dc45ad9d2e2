package bind

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func TestMain(m *testing.M) {
	sshtest.Isolate()
	os.Exit(m.Run())
}

// configurations returns what gives each configuration its handle on one tunnel.
func configurations(t *testing.T) (next func() *tunnel.Handle) {
	t.Helper()
	key := sshtest.NewKey()
	bastion := sshtest.NewBastion(t, sshtest.BastionOptions{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	cfg := tunnel.Config{
		Name:          "prod",
		Address:       bastion.Addr(),
		User:          "deploy",
		IdentityAgent: "none",
		IdentityFiles: []tunnel.IdentityFile{{Path: sshtest.WriteFile(t, "id", key.PEM(""))}},
		HostKeys:      []string{bastion.HostKeyFingerprint()},
	}
	return func() *tunnel.Handle {
		h := tunnel.Open(cfg, tunnel.Settings{}, nil)
		t.Cleanup(h.Close)
		h.Start()
		if err := h.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		return h
	}
}

// freeAddress is one that nothing on the bastion listens on.
func freeAddress(t *testing.T) hostport.ListenAddress {
	t.Helper()
	return hostport.ListenAddress{Network: "tcp", Address: fmt.Sprint("127.0.0.1:", sshtest.NewPort(t))}
}

// bound makes the bastion listen, until the test ends.
func bound(t *testing.T, h *tunnel.Handle, address hostport.ListenAddress) *boundListener {
	t.Helper()
	ln, err := Listen("prod", h, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	l := ln.(*boundListener)
	if err := l.Established(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// visit connects to the address, and returns what the listener accepts.
func visit(t *testing.T, l *boundListener) (visitor, accepted net.Conn) {
	t.Helper()
	visitor, err := net.Dial("tcp", l.binding.address.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = visitor.Close() })
	return visitor, accept(t, l)
}

// accept returns what a listener accepts.
func accept(t *testing.T, l *boundListener) net.Conn {
	t.Helper()
	timeout := time.AfterFunc(10*time.Second, func() { _ = l.Close() })
	defer timeout.Stop()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// hear wants a text to arrive.
func hear(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// TestListen: an address is listened on once by a configuration, and by several
// configurations at the same time.
func TestListen(t *testing.T) {
	next, address := configurations(t), freeAddress(t)
	first := next()
	l := bound(t, first, address)
	if network := l.Addr().Network(); network != "ssh_tunnel/prod" {
		t.Errorf("its network is %q", network)
	}
	if _, err := Listen("prod", first, address); err == nil {
		t.Error("one configuration listens twice")
	}
	bound(t, next(), address)
	if n := len(Open()); n != 2 {
		t.Errorf("%d are open", n)
	}
}

// TestTakeBack: what a server has accepted and not used is passed to the next
// configuration when its own ends, with what arrives in that moment.
func TestTakeBack(t *testing.T) {
	for name, reads := range map[string]bool{"not read": false, "being read": true} {
		t.Run(name, func(t *testing.T) {
			next, address := configurations(t), freeAddress(t)
			old := bound(t, next(), address)
			visitor, accepted := visit(t, old)
			read := make(chan error, 1)
			if reads {
				go func() {
					_, err := accepted.Read(make([]byte, 10))
					read <- err
				}()
				sshtest.Eventually(t, 10*time.Second, "a read is under way", func() bool {
					c := accepted.(*unreadConn)
					c.mu.Lock()
					defer c.mu.Unlock()
					return c.reading == 1
				})
			}
			successor := bound(t, next(), address)
			_ = old.Close()
			taken := accept(t, successor)
			if !reads {
				_, err := accepted.Read(make([]byte, 10))
				read <- err
			}
			if err := <-read; !errors.Is(err, net.ErrClosed) {
				t.Errorf("reading what was taken: %v", err)
			}
			if _, err := io.WriteString(accepted, "x"); !errors.Is(err, net.ErrClosed) {
				t.Errorf("writing to what was taken: %v", err)
			}
			if err := accepted.SetDeadline(time.Unix(1, 0)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a deadline of what was taken: %v", err)
			}
			if err := accepted.Close(); err != nil {
				t.Errorf("closing what was taken: %v", err)
			}
			if _, err := io.WriteString(visitor, "hello"); err != nil {
				t.Fatal(err)
			}
			hear(t, taken, "hello")
			if _, err := io.WriteString(taken, "welcome"); err != nil {
				t.Fatal(err)
			}
			hear(t, visitor, "welcome")
		})
	}
}

// TestUsedStays: a connection that its server has read or written stays with it.
func TestUsedStays(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, visitor, accepted net.Conn){
		"read": func(t *testing.T, visitor, accepted net.Conn) {
			_, _ = io.WriteString(visitor, "hello")
			hear(t, accepted, "hello")
		},
		"written": func(t *testing.T, visitor, accepted net.Conn) {
			_, _ = io.WriteString(accepted, "220 ready")
			hear(t, visitor, "220 ready")
		},
	} {
		t.Run(name, func(t *testing.T) {
			next, address := configurations(t), freeAddress(t)
			old := bound(t, next(), address)
			visitor, accepted := visit(t, old)
			use(t, visitor, accepted)
			if n := old.countUnread(); n != 0 {
				t.Errorf("%d may be taken back", n)
			}
			bound(t, next(), address)
			_ = old.Close()
			_, _ = io.WriteString(visitor, "more")
			hear(t, accepted, "more")
		})
	}
}

// TestNobodyFollows: without another configuration's listener, the server keeps what it
// has accepted, and accepts no more.
func TestNobodyFollows(t *testing.T) {
	l := bound(t, configurations(t)(), freeAddress(t))
	visitor, accepted := visit(t, l)
	_ = l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting: %v", err)
	}
	_, _ = io.WriteString(visitor, "hello")
	hear(t, accepted, "hello")
}

func TestIdle(t *testing.T) {
	ln := NewIdle(hostport.ListenAddress{Network: "unix", Address: "/run/x.sock"})
	accepted := make(chan error, 1)
	go func() {
		_, err := ln.Accept()
		accepted <- err
	}()
	_ = ln.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if address := ln.Addr().String(); address != "/run/x.sock" {
		t.Errorf("its address is %q", address)
	}
}
