//go:build linux

package e2e

import (
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestForwardLostUnnoticed kills the bastion's session while those here have no
// reason to notice: they do not read what comes, or have read all to its end.
// They are reset all the same, and Caddy keeps nothing of their connections.
func TestForwardLostUnnoticed(t *testing.T) {
	t.Parallel()
	accepted, over := make(chan *net.TCPConn), make(chan struct{})
	var handlers sync.WaitGroup
	f := serveForwards(t, func(_ string, c *net.TCPConn) {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return // serveForwards has tried each
		}
		handlers.Add(1)
		defer handlers.Done()
		accepted <- c
		<-over
	})
	t.Cleanup(func() { close(over); handlers.Wait() })

	near := make(map[string]*net.TCPConn) // the ends that are here
	var stuck sync.WaitGroup
	for _, kind := range kinds {
		for _, how := range []string{"unread", "ended"} {
			client := f.mustDial(t, kind)
			_, _ = client.Write([]byte("x"))
			here, there := client, <-accepted
			if kind == "remote" {
				here, there = there, client
			}
			near[kind+", "+how] = here
			if how == "unread" {
				_ = there.SetWriteDeadline(time.Now().Add(3 * time.Second))
				stuck.Go(func() { _, _ = io.Copy(there, zeros{}) }) // until that is over
				continue
			}
			_ = there.CloseWrite()
			if _, err := here.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("%s: %v, want the end", kind, err)
			}
		}
	}
	stuck.Wait()
	f.b.KillSessions(syscall.SIGKILL)
	for name, conn := range near {
		sshtest.Eventually(t, patience, name+": it is reset", func() bool { return isReset(conn) })
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// isReset reports whether a connection was reset, without reading from it.
func isReset(conn *net.TCPConn) (reset bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(poll, 0)
		reset = err == nil && n > 0 && poll[0].Revents&unix.POLLERR != 0
	})
	return reset
}
