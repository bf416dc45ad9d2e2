//go:build unix

package pool

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialtimeout"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// TestCrowd: a crowd that comes at once, and comes and goes, gets its channels:
// nobody gets an error, though there be more clients than places.
func TestCrowd(t *testing.T) {
	for _, tt := range []struct {
		name    string
		class   Class
		most    int // connections
		clients int
		stay    bool // every other client does not close its channels
	}{
		{"requests", Request, 8, 800, true},
		{"streams", Stream, 8, 800, true},
		{"more requests than places", Request, 1, maxChannels + 600, false},
		{"more streams than places", Stream, 1, maxChannels + 600, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := quick()
			set.MaxConnections = tt.most
			_, h := sshdTunnel(t, set, "")
			addr := listen(t, echo)
			crowd := &crowd{t: t, handle: h, target: Target{Network: "tcp", Address: addr, Class: tt.class}}
			var all sync.WaitGroup
			for i := range tt.clients {
				all.Go(func() {
					for range 2 {
						if c := crowd.exchange(i); c != nil && tt.stay && i%2 == 0 {
							defer c.Close()
						} else if c != nil {
							_ = c.Close()
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// crowd are clients of one target.
type crowd struct {
	t      *testing.T
	handle *Pool
	target Target
}

// exchange is what a client does on a channel, which it returns.
func (c *crowd) exchange(client int) *Conn {
	ctx, cancel := dialtimeout.With(c.t.Context(), 10*time.Second, errors.New("no answer"))
	defer cancel()
	conn, err := c.handle.Dial(ctx, c.target)
	if err != nil {
		c.t.Errorf("client %d: %v", client, err)
		return nil
	}
	if _, err = io.WriteString(conn, "hello"); err == nil {
		_, err = io.ReadFull(conn, make([]byte, 5))
	}
	if err != nil {
		c.t.Errorf("client %d: %v", client, err)
	}
	return conn
}

// TestDeadSocketHarmsNobody: a Unix socket that is not there, however often it is
// asked for beside healthy traffic, changes nothing about the connection.
func TestDeadSocketHarmsNobody(t *testing.T) {
	t.Parallel()
	set := quick()
	logs := observed(&set)
	_, h := sshdTunnel(t, set, "")
	addr := listen(t, echo)
	dead := filepath.Join(t.TempDir(), "dead")
	for range 4 * fewChannels {
		openOf(t, h, Request, addr)
	}
	m := connections(t, h, 1)[0]
	const asked = 1000
	var askers sync.WaitGroup
	for range 20 {
		askers.Go(func() {
			for range asked / 20 {
				_, err := h.Dial(t.Context(), Target{Network: "unix", Address: dead})
				if refused, ok := errors.AsType[*failure.OpenError](err); !ok || refused.Reason != failure.OpenFailed {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	for range 50 {
		c := openOf(t, h, Request, addr)
		roundTrip(t, c)
		_ = c.Close()
	}
	askers.Wait()
	h.mu.Lock()
	if m.limit != maxChannels {
		t.Errorf("the connection takes %d channels", m.limit)
	}
	h.mu.Unlock()
	if n := logs.FilterMessage("connection added").Len(); n != 0 {
		t.Errorf("%d connections were added", n)
	}
}

// TestSocketThatGoes: a Unix socket that goes, while channels to it stay, may be
// tried on one more connection, and then is known.
func TestSocketThatGoes(t *testing.T) {
	t.Parallel()
	set := quick()
	logs := observed(&set)
	_, h := sshdTunnel(t, set, "")
	path := filepath.Join(socketDir(t), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	t.Cleanup(func() { _ = ln.Close() })
	target := Target{Network: "unix", Address: path}
	var conns []*Conn
	for range 2 * fewChannels {
		c, err := h.Dial(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	m := linkOf(conns[0])
	if err := os.Rename(path, path+"-gone"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := h.Dial(t.Context(), target); err == nil {
			t.Fatal("the socket is there")
		}
	}
	h.mu.Lock()
	if m.limit != maxChannels {
		t.Errorf("the connection takes %d channels", m.limit)
	}
	h.mu.Unlock()
	if n := logs.FilterMessage("connection added").Len(); n > 1 {
		t.Errorf("%d connections were added", n)
	}
	for _, c := range conns {
		roundTrip(t, c)
	}
}

// socketDir is a directory whose path is short enough for a Unix socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "crowd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
