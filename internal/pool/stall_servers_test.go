//go:build unix

package pool

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// chatty writes a byte every 20 ms.
func chatty(c net.Conn) {
	for {
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stallOf reads how many of a tunnel's connections are stalled, and how many are not.
func stallOf(h *Pool) (stalled, active int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	active = len(h.active())
	return len(h.present()) - active, active
}

// TestStall: a connection that the bastion does not serve for longer than any probe
// waits keeps all that is open on it, whatever ServerAliveInterval is. New channels open
// on another connection, with `connections 1` as well, and on both once it responds.
func TestStall(t *testing.T) {
	sshtest.Takes(t, 12*time.Second)
	for name, set := range map[string]Settings{
		"keepalive":           {ServerAliveInterval: 15 * time.Second},
		"no keepalive":        {},
		"one connection only": {MinConnections: 1, MaxConnections: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set.ConnectTimeout = 20 * time.Second
			logs := observed(&set)
			s, h := sshdTunnel(t, set, "")
			addr := listen(t, echo)
			stream := mustDial(t, h, listen(t, chatty))
			if _, err := io.ReadFull(stream, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			logins := s.Logins()
			stopped := s.Sessions()
			for _, pid := range stopped {
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}

			// Two at once: only one of them can be what sshd looks up.
			opened := make(chan error, 2)
			for range 2 {
				go func() {
					ctx, cancel := context.WithTimeout(t.Context(), sshtest.Patience)
					defer cancel()
					c, err := h.Dial(ctx, Target{Network: "tcp", Address: addr})
					if err == nil {
						_ = c.Close()
					}
					opened <- err
				}()
			}
			start := time.Now()
			for range 2 {
				if err := <-opened; err != nil {
					t.Errorf("dialing beside a stalled connection: %v", err)
				}
			}
			t.Logf("dialed after %s", time.Since(start))
			if stalled, active := stallOf(h); stalled != logins || active == 0 {
				t.Errorf("%d connections stalled and %d active, of %d that there were", stalled, active, logins)
			}
			if logs.FilterMessageSnippet("connection stalled").Len() == 0 {
				t.Error("the log does not say that a connection stalled")
			}
			roundTrip(t, mustDial(t, h, addr))
			time.Sleep(max(0, 9*time.Second-time.Since(start))) // longer than sshd's lookups take
			for _, pid := range stopped {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
			sshtest.Eventually(t, 10*time.Second, "the end of the stall", func() bool { stalled, _ := stallOf(h); return stalled == 0 })
			_ = stream.SetReadDeadline(time.Now().Add(sshtest.Patience))
			if _, err := io.ReadFull(stream, make([]byte, 500)); err != nil {
				t.Errorf("the stream that was open: %v", err)
			}
			if n := logs.FilterMessageSnippet("connection lost").Len(); n > 0 {
				t.Errorf("%d connections were lost", n)
			}
		})
	}
}

// sshdTunnel is a tunnel to a real sshd.
func sshdTunnel(t *testing.T, set Settings, config string) (*sshtest.SSHD, *Pool) {
	t.Helper()
	s, cfg := tunneltest.SSHD(t, config)
	return s, open(t, cfg, set)
}
