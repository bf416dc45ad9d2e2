package pool

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// clock_test.go has clocks jump, and run for long.

// pipedTunnel runs f in simulated time with a tunnel to a bastion that answers,
// and the number of logins. Once frozen is set the bastion answers no more.
func pipedTunnel(t *testing.T, set Settings, f func(t *testing.T, h *Pool, logins *atomic.Int32, frozen *atomic.Bool)) {
	t.Helper()
	key := sshtest.NewKey()
	signer, err := ssh.NewSignerFromSigner(key.Private())
	if err != nil {
		t.Fatal(err)
	}
	server := &ssh.ServerConfig{NoClientAuth: true}
	server.AddHostKey(signer)
	bubble(t, func(t *testing.T) {
		var logins atomic.Int32
		var frozen atomic.Bool
		cfg := connect.Config{Name: "test", Address: t.Name() + ":22", User: "u", HostKeys: []string{key.Fingerprint()}, NoIdentityFiles: true, IdentityAgent: "none"}
		cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			// Returns when our side is closed.
			go func() {
				defer func() { _ = theirs.Close() }()
				conn, channels, requests, err := ssh.NewServerConn(theirs, server)
				if err != nil {
					return
				}
				logins.Add(1)
				go func() {
					for c := range channels {
						if !frozen.Load() {
							_ = c.Reject(ssh.Prohibited, "no")
						}
					}
				}()
				for r := range requests {
					if !frozen.Load() {
						_ = r.Reply(false, nil)
					}
				}
				_ = conn.Close()
			}()
			return ours, nil
		}
		set.ServerAliveInterval, set.ServerAliveCountMax = 15*time.Second, 3
		h := start(cfg, set, nil)
		sshtest.Eventually(t, time.Minute, "the tunnel is up", func() bool { return len(h.activeMembers()) > 0 })
		f(t, h, &logins, &frozen)
		leave(h)
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}

// jump has the clock of a connection jump, as that of a machine does which was
// suspended: all of a sudden everything was long ago.
func (m *member) jump(by time.Duration) {
	synctest.Wait() // nobody reads it now; whoever does has held mu before
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	transport := m.client.Transport()
	transport.Since = transport.Since.Add(-by)
}

// TestQuietHours: a tunnel that nobody uses is one login, and nothing to say.
func TestQuietHours(t *testing.T) {
	var set Settings
	logs := observed(&set)
	pipedTunnel(t, set, func(t *testing.T, _ *Pool, logins *atomic.Int32, _ *atomic.Bool) {
		time.Sleep(4 * time.Hour)
		if n := logins.Load(); n != 1 {
			t.Errorf("%d logins", n)
		}
		said := 0
		for _, p := range logs.All() {
			if p.Level > zapcore.DebugLevel {
				said++
				t.Log(p.Level, p.Message)
			}
		}
		if said > 3 {
			t.Errorf("%d lines in four hours", said)
		}
	})
}

// TestClockJump: after a pause of any length a connection that lives goes on,
// one that does not is found out as fast as ever, and what is due by the clock
// happens once.
func TestClockJump(t *testing.T) {
	for _, c := range []struct {
		name   string
		by     time.Duration
		set    Settings
		frozen bool
		logins int32
		within time.Duration
	}{
		{name: "an hour", by: time.Hour, logins: 1},
		{name: "a year", by: 365 * 24 * time.Hour, logins: 1},
		{name: "an hour, and nobody there any more", by: time.Hour, frozen: true, logins: 2, within: 10 * time.Second},
		{name: "past rekey_limit", by: time.Hour, set: Settings{RekeyInterval: 30 * time.Minute}, logins: 2, within: 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			pipedTunnel(t, c.set, func(t *testing.T, h *Pool, logins *atomic.Int32, frozen *atomic.Bool) {
				time.Sleep(20 * time.Second)
				before := h.activeMembers()[0]
				frozen.Store(c.frozen)
				before.jump(c.by)
				if c.logins > 1 {
					jumped := time.Now()
					sshtest.Eventually(t, time.Minute, "another connection is in its place", func() bool {
						now := h.activeMembers()
						return len(now) == 1 && now[0] != before
					})
					if took := time.Since(jumped); took > c.within {
						t.Errorf("took %s", took)
					}
					frozen.Store(false)
				}
				time.Sleep(10 * time.Minute)
				if n := logins.Load(); n != c.logins {
					t.Errorf("%d logins, want %d", n, c.logins)
				}
				if n := len(h.activeMembers()); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}
