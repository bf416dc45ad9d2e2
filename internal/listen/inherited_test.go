//go:build unix

package listen

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// inherit returns a descriptor of a file's as a process has it that was started with it.
func inherit(t *testing.T, from interface{ File() (*os.File, error) }) int {
	t.Helper()
	file, err := from.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// itself is a file that is asked for itself.
type itself struct{ name string }

func (f itself) File() (*os.File, error) { return os.Open(f.name) }

// listenTCP listens on a port of the loopback.
func listenTCP(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestInheritedRefused(t *testing.T) {
	ln := listenTCP(t)
	packets, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	own, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for _, test := range []struct {
		fd   int
		want string
	}{
		{1 << 20, "nobody passed this file descriptor to Caddy"},
		{int(own.Fd()), "nobody passed this file descriptor to Caddy"},
		{inherit(t, itself{os.DevNull}), "it is not a socket"},
		{inherit(t, packets), "it is not a stream socket; write ListenStream="},
		{inherit(t, conn.(*net.TCPConn)), "the socket does not listen; write Accept=no"},
	} {
		a, err := hostport.ParseListen("fd/"+strconv.Itoa(test.fd), hostport.Here)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(a, new(forward.Forwarder))
		if want := "listening on \"" + a.String() + "\": " + test.want; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestInherited: a socket is there again after nobody has listened on it, with the
// connections that came meanwhile.
func TestInherited(t *testing.T) {
	ln := listenTCP(t)
	a, err := hostport.ParseListen("fd/"+strconv.Itoa(inherit(t, ln)), hostport.Here)
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close() // the process has it by the descriptor alone
	for range 3 {
		conn, err := net.DialTimeout("tcp", ln.Addr().String(), sshtest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		served, err := openSocket(a)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := served.Addr().String(), ln.Addr().String(); got != want {
			t.Errorf("it listens on %s, want %s", got, want)
		}
		_ = served.(*net.TCPListener).SetDeadline(time.Now().Add(sshtest.Patience))
		accepted, err := served.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = accepted.Close(), conn.Close()
		if err := served.Close(); err != nil {
			t.Error(err)
		}
	}
}
