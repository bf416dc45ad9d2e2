//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// wrapper_test.go tests the listener wrapper, and how Caddy ends.

// serveRaw starts Caddy with a port whose connections go to echo.internal.
func (b *bastion) serveRaw(global string) (c *caddy, raw int) {
	b.t.Helper()
	raw = sshtest.NewPort(b.t)
	c = startCaddy(b.t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod"), wrapper(raw)+global, proxied) + c.site(raw, "")
	})
	return c, raw
}

// TestWrapper forwards one connection, and looks at what the bastion and the
// log know about it.
func TestWrapper(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "LogLevel DEBUG1\n")
	b.serveTCP("127.0.0.1:7", echo)
	c, raw := b.serveRaw("")
	conn := dialRaw(t, raw)
	conn.exchange("hello")
	us := conn.LocalAddr().(*net.TCPAddr)
	want := fmt.Sprintf("originator %s port %d, target echo.internal port 7", us.IP, us.Port)
	sshtest.Eventually(t, patience, "sshd's log has "+want, func() bool { return strings.Contains(b.Log(), want) })
	if !c.logged("connection opened", us.String(), "echo.internal:7", "prod") {
		t.Error("the log has no line for the connection's start")
	}
	_ = conn.Close()
	sshtest.Eventually(t, patience, "the log has a line for the connection's end", func() bool {
		return c.logged("connection closed", us.String(), "echo.internal:7", "read:5", "written:5")
	})
}

// TestWrapperHalfCloses ends each direction by itself, from each side.
func TestWrapperHalfCloses(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	got := make(chan string, 1)
	b.serveTCP("127.0.0.1:7", func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "all there is")
		_ = c.CloseWrite()
		rest, _ := io.ReadAll(c)
		got <- string(rest)
	})
	_, raw := b.serveRaw("")

	// The server ends its direction first, and ours goes on.
	conn := dialRaw(t, raw)
	_ = conn.SetDeadline(time.Now().Add(patience))
	all, err := io.ReadAll(conn)
	if err != nil || string(all) != "all there is" {
		t.Fatalf("got %q %v", all, err)
	}
	if _, err := io.WriteString(conn, "and this"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	select {
	case rest := <-got:
		if rest != "and this" {
			t.Errorf("the server got %q", rest)
		}
	case <-time.After(patience):
		t.Error("the end of our direction has not come to the server")
	}
}

// TestWrapperClientHalfCloses has the client end its direction first: what was
// sent comes back whole all the same.
func TestWrapperClientHalfCloses(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", func(c *net.TCPConn) {
		all, _ := io.ReadAll(c) // it answers only after the end
		_, _ = c.Write(all)
	})
	_, raw := b.serveRaw("")
	conn := dialRaw(t, raw)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.CopyN(conn, sshtest.Body(), 5_000_000); err != nil {
		t.Fatal(err)
	}
	if err := conn.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	newStream(t, conn).read(5_000_000)
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after all: %d bytes, %v", n, err)
	}
}

// TestWrapperCut loses the connection to the bastion: no client may take that
// for the end of the stream.
func TestWrapperCut(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", echo)
	_, raw := b.serveRaw("")
	conn := dialRaw(t, raw)
	conn.exchange("hello")
	b.KillSessions(syscall.SIGKILL)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF || isTimeout(err) {
		t.Errorf("a cut connection ends with %v", err)
	}
	// The next has a whole connect's time.
	dialRaw(t, raw).exchange("hello again")
}

// TestExit ends Caddy in each way while a raw connection is open. It has the
// grace period to end, and is cut then, or at once: its client must not take that
// for a proper end.
func TestExit(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", echo)
	for name, end := range map[string]func(c *caddy){
		"SIGTERM": func(c *caddy) { _ = c.cmd.Process.Signal(syscall.SIGTERM) },
		"SIGKILL": func(c *caddy) { _ = c.cmd.Process.Kill() },
		"stop": func(c *caddy) {
			if out, err := c.command("stop").CombinedOutput(); err != nil {
				t.Errorf("caddy stop: %v: %s", err, out)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, raw := b.serveRaw("grace_period 1s\n")
			conn := dialRaw(t, raw)
			conn.exchange("hello")
			start := time.Now()
			end(c)
			_ = conn.SetDeadline(time.Now().Add(patience))
			if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a connection that Caddy's end has cut ends with %v", err)
			}
			c.waitExit(patience)
			t.Logf("Caddy ended after %v", time.Since(start))
			sshtest.Eventually(t, patience, "sshd's processes end", func() bool { return len(b.Sessions()) == 0 })
		})
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error) //nolint:errorlint // as net.Conn returns it
	return ok && timeout.Timeout()
}
