package tunnel

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// listenRemote listens through a tunnel, until the test ends.
func listenRemote(t testing.TB, h *Handle, network, addr string) *remote.Listener {
	t.Helper()
	ln, err := h.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// notServing waits until nobody listens on an address.
func notServing(t testing.TB, network, addr string) {
	t.Helper()
	sshtest.Eventually(t, 10*time.Second, "the end of "+addr, func() bool {
		c, err := net.Dial(network, addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

func port(t testing.TB, addr string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestListen: connections to the bastion's address come out of the listener,
// with the peer's address, and a half-close either way leaves the other open.
func TestListen(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := freeAddr(t)
	ln := listenRemote(t, b.Handle, "tcp", addr)
	if got := ln.Addr().(*net.TCPAddr).String(); got != addr {
		t.Errorf("Addr is %q", got)
	}
	checkListener(t, ln, "tcp", addr)
	if n := b.bastion.Stats().Forwards; n != 1 {
		t.Errorf("%d forwards", n)
	}
	_ = ln.Close()
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	portFree(t, addr)
	if n := b.bastion.Stats().Forwards; n != 0 {
		t.Errorf("%d forwards after Close", n)
	}
}

// portFree waits until an address can be listened on.
func portFree(t testing.TB, addr string) {
	t.Helper()
	sshtest.Eventually(t, 10*time.Second, addr+" to be free", func() bool {
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			_ = ln.Close()
		}
		return err == nil
	})
}

// checkListener makes a connection to a listener's address on the bastion and
// checks all that it must do.
func checkListener(t *testing.T, ln *remote.Listener, network, addr string) {
	t.Helper()
	var peer net.Conn
	sshtest.Eventually(t, 15*time.Second, "the bastion to listen", func() (ok bool) {
		var err error
		peer, err = net.Dial(network, addr)
		return err == nil
	})
	defer peer.Close()
	_ = peer.SetDeadline(time.Now().Add(sshtest.Patience))
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(sshtest.Patience))
	if network == "tcp" {
		if got, want := c.RemoteAddr().(*net.TCPAddr).String(), peer.LocalAddr().String(); got != want {
			t.Errorf("RemoteAddr is %s, want %s", got, want)
		}
	}
	if got, want := c.LocalAddr().String(), ln.Addr().String(); got != want {
		t.Errorf("LocalAddr is %s, want %s", got, want)
	}

	// 1 MiB in, its end, and then 1 MiB out.
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		_, err := peer.Write(data)
		if err == nil {
			err = peer.(tunneltest.CloseWriter).CloseWrite()
		}
		if err != nil {
			t.Errorf("sending in: %v", err)
		}
	})
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("coming in: %d bytes, %v", len(got), err)
	}
	wg.Go(func() {
		_, err := c.Write(data)
		if err == nil {
			err = c.(tunneltest.CloseWriter).CloseWrite()
		}
		if err != nil {
			t.Errorf("sending out: %v", err)
		}
	})
	if got, err := io.ReadAll(peer); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("going out: %d bytes, %v", len(got), err)
	}

	// The other way round: our end first, and the peer still heard.
	peer2, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer peer2.Close()
	c2, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	_ = peer2.SetDeadline(time.Now().Add(sshtest.Patience))
	_ = c2.SetDeadline(time.Now().Add(sshtest.Patience))
	if err := c2.(tunneltest.CloseWriter).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := peer2.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the peer read %d, %v", n, err)
	}
	if _, err := io.WriteString(peer2, "late"); err != nil {
		t.Fatal(err)
	}
	_ = peer2.(tunneltest.CloseWriter).CloseWrite()
	if got, err := io.ReadAll(c2); err != nil || string(got) != "late" {
		t.Fatalf("after our own end: %q, %v", got, err)
	}
}

func TestListenUnix(t *testing.T) {
	b := newBench(t, quick(), nil)
	path := filepath.Join(t.TempDir(), "s")
	ln := listenRemote(t, b.Handle, "unix", path)
	checkListener(t, ln, "unix", path)
	_ = ln.Close()
	notServing(t, "unix", path)
}

// TestListenBeforeStart: a listener is there before its tunnel, makes a lazy
// one connect, and keeps it connected.
func TestListenBeforeStart(t *testing.T) {
	key := sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	set := quick()
	set.Lazy = true
	h := Open(configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr()), set, nil)
	t.Cleanup(func() { closeAndWait(t, h) })
	addr := freeAddr(t)
	ln := listenRemote(t, h, "tcp", addr)
	serve(t, ln, echoBack)
	time.Sleep(50 * time.Millisecond)
	if s := bastion.Stats(); s.Connects > 0 {
		t.Fatal("connected before Start")
	}
	h.Start()
	serving(t, "tcp", addr)
	for range 3 {
		bastion.Kick()
		notYet := bastion.Stats().ForwardRequests
		sshtest.Eventually(t, 5*time.Second, "the forward to be asked for again", func() bool { return bastion.Stats().ForwardRequests > notYet })
		serving(t, "tcp", addr)
	}
	h.Close()
	portFree(t, addr)
	if _, err := h.Listen("tcp", addr); !errors.Is(err, ErrClosed) {
		t.Errorf("Listen on a closed handle: %v", err)
	}
}

// TestListenCloseRefuses: what waits when the last listener is closed is
// refused, not left hanging.
func TestListenCloseRefuses(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := freeAddr(t)
	ln := listenRemote(t, b.Handle, "tcp", addr)
	sshtest.Eventually(t, 10*time.Second, "the forward", func() bool { return b.bastion.Stats().Forwards == 1 })
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sshtest.Eventually(t, 10*time.Second, "the connection to wait", func() bool { return ln.Waiting() == 1 })
	_ = ln.Close()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the peer read %v", err)
	}
}

// TestListenUnasked: a forwarded channel for another port than was asked for is
// refused.
func TestListenUnasked(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := freeAddr(t)
	serve(t, listenRemote(t, b.Handle, "tcp", addr), echoBack)
	serving(t, "tcp", addr)
	conn := b.bastion.Conns()[0]
	for _, payload := range [][]byte{
		tunneltest.ForwardedTCPIP("127.0.0.1", 1, "127.0.0.1", 2),
		tunneltest.ForwardedTCPIP("127.0.0.1", 1<<20, "127.0.0.1", 2),
		{1, 2, 3},
	} {
		_, _, err := conn.OpenChannel("forwarded-tcpip", payload)
		if refused, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refused.Reason != ssh.Prohibited {
			t.Errorf("got %v", err)
		}
	}
	_, _, err := conn.OpenChannel("forwarded-streamlocal@openssh.com", ssh.Marshal(struct{ Path, Reserved string }{Path: "/x"}))
	if refused, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refused.Reason != ssh.Prohibited {
		t.Errorf("got %v", err)
	}
	// The same port in other words is the forward's.
	portNumber, _ := strconv.ParseUint(port(t, addr), 10, 16)
	ch, reqs, err := conn.OpenChannel("forwarded-tcpip", tunneltest.ForwardedTCPIP("::ffff:127.0.0.1", uint32(portNumber), "not an address", 2))
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	_ = ch.Close()
	serving(t, "tcp", addr)
}
