package pool

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// TestConnIsANetConn runs the standard conformance test over channels of real
// servers: deadlines, concurrency, racing closes.
func TestConnIsANetConn(t *testing.T) {
	for _, s := range tunneltest.Servers {
		t.Run(s.Name, func(t *testing.T) {
			h := open(t, s.Start(t), quick())
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return nil, nil, nil, err
				}
				defer ln.Close()
				accepted := make(chan net.Conn, 1)
				go func() {
					c, err := ln.Accept()
					if err != nil {
						close(accepted)
						return
					}
					accepted <- c
				}()
				c1, err = dialFor(t, h, ln.Addr().String(), sshtest.Patience)
				if err != nil {
					return nil, nil, nil, err
				}
				c2 = <-accepted
				return c1, c2, func() { _ = c1.Close(); _ = c2.Close() }, nil
			})
		})
	}
}

// TestConnHalfClose: each direction ends by itself, and everything written
// before an end arrives.
func TestConnHalfClose(t *testing.T) {
	const size = 3 << 20
	for _, s := range tunneltest.Servers {
		t.Run(s.Name, func(t *testing.T) {
			h := open(t, s.Start(t), quick())
			got := make(chan int64, 1)
			addr := listen(t, func(c net.Conn) {
				n, _ := io.Copy(io.Discard, c)
				got <- n
				_, _ = c.Write(make([]byte, size))
			})
			c := mustDial(t, h, addr)
			if _, err := c.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("write after CloseWrite: %v", err)
			}
			_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
			if n, err := io.Copy(io.Discard, c); n != size || err != nil {
				t.Fatalf("read %d bytes, %v", n, err)
			}
			if n := <-got; n != size {
				t.Fatalf("the target got %d bytes", n)
			}
			if r, w := c.Stats(); r != size || w != size {
				t.Fatalf("Stats: %d, %d", r, w)
			}
		})
	}
}

// TestConnCloseDelivers: what was written before a Close arrives.
func TestConnCloseDelivers(t *testing.T) {
	for _, s := range tunneltest.Servers {
		t.Run(s.Name, func(t *testing.T) {
			h := open(t, s.Start(t), quick())
			got := make(chan int64, 1)
			addr := listen(t, func(c net.Conn) {
				n, _ := io.Copy(io.Discard, c)
				got <- n
			})
			c := mustDial(t, h, addr)
			const size = 1 << 20
			if _, err := c.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if n := <-got; n != size {
				t.Fatalf("the target got %d bytes of %d", n, size)
			}
		})
	}
}

// TestConnUnixSocket: direct-streamlocal@openssh.com reaches a socket on the
// bastion.
func TestConnUnixSocket(t *testing.T) {
	for _, s := range tunneltest.Servers {
		t.Run(s.Name, func(t *testing.T) {
			h := open(t, s.Start(t), quick())
			path := filepath.Join(t.TempDir(), "s")
			ln, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				if c, err := ln.Accept(); err == nil {
					_, _ = io.Copy(c, c)
					_ = c.Close()
				}
			}()
			c, err := h.Dial(t.Context(), Target{Network: "unix", Address: path})
			var refused *failure.OpenError
			if s.Name == "dropbear" && errors.As(err, &refused) {
				// 2022.83 has no streamlocal forwarding; the refusal is plain.
				if refused.Reason != failure.OpenUnsupported {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			roundTrip(t, c)
			if a := c.RemoteAddr(); a.Network() != "unix" || a.String() != path {
				t.Fatalf("RemoteAddr: %v", a)
			}
		})
	}
}

// TestConnCloseOnFrozenLink: Close unblocks a reader and a writer at once,
// though nothing gets to the bastion any more.
func TestConnCloseOnFrozenLink(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c := mustDial(t, b.Pool, addr)
	b.link.Freeze(sshtest.Up | sshtest.Down)

	read, written := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	go func() {
		var err error
		for err == nil {
			_, err = c.Write(make([]byte, 32<<10))
		}
		written <- err
	}()
	sshtest.Eventually(t, 5*time.Second, "a blocked writer", func() bool {
		return c.Queued() >= 64<<10
	})
	within(t, time.Second, "Close", func() {
		_ = c.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read: %v", err)
		}
		if err := <-written; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
	})
}

// TestConnDeadlinesOnFrozenLink: deadlines are real whatever the connection does.
func TestConnDeadlinesOnFrozenLink(t *testing.T) {
	b := newBench(t, quick(), nil)
	c := mustDial(t, b.Pool, listen(t, echo))
	roundTrip(t, c)
	b.link.Freeze(sshtest.Up | sshtest.Down)
	_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond))
	within(t, 5*time.Second, "a read and writes with a deadline", func() {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
		var err error
		for err == nil {
			_, err = c.Write(make([]byte, 32<<10))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v", err)
		}
	})
	b.link.Thaw(sshtest.Up | sshtest.Down)
}

// TestConnAddresses: the originator goes to the bastion, and both addresses are
// there to be read.
func TestConnAddresses(t *testing.T) {
	b := newBench(t, quick(), func(o *sshtest.BastionOptions) { o.Dial = dialTo(listen(t, echo)) })
	c, err := b.Dial(t.Context(), Target{Network: "tcp", Address: "web.internal:80"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.RemoteAddr().String(); got != "web.internal:80" {
		t.Errorf("RemoteAddr: %s", got)
	}
	if got := c.LocalAddr().String(); got != "127.0.0.1:65535" {
		t.Errorf("LocalAddr: %s", got)
	}
	from := mustAddrPort("[2001:db8::7]:4711")
	c6, err := b.Dial(t.Context(), Target{Network: "tcp", Address: "[::1]:80", Originator: from})
	if err != nil {
		t.Fatal(err)
	}
	defer c6.Close()
	if tcp, ok := c6.RemoteAddr().(*net.TCPAddr); !ok || tcp.Port != 80 || !tcp.IP.IsLoopback() {
		t.Errorf("RemoteAddr: %v", c6.RemoteAddr())
	}
	opens := b.bastion.Opens()
	if opens[0].Address != "web.internal:80" || opens[1].Address != "[::1]:80" || opens[1].Originator != from.String() {
		t.Errorf("the bastion saw %+v", opens)
	}
}
