package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestMain fails the package if a goroutine outlives its test's tunnel. Those of
// TestMaliceLeaks's own process may: see there. So may that which keeps a lock of a
// storage fresh, for 5 seconds.
func TestMain(m *testing.M) {
	sshtest.Isolate()
	if os.Getenv(maliceEnv) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// bastionFor starts an embedded bastion that a Config from configFor can log
// in to, with the options that mutate sets.
func bastionFor(t testing.TB, key *sshtest.Key, mutate func(*sshtest.BastionOptions)) *sshtest.Bastion {
	t.Helper()
	opts := sshtest.BastionOptions{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}}
	if mutate != nil {
		mutate(&opts)
	}
	return sshtest.NewBastion(t, opts)
}

// configFor returns the Config of a tunnel to a bastion at addr.
func configFor(t testing.TB, key *sshtest.Key, hostKey, addr string) Config {
	t.Helper()
	return Config{
		Name: "test", Address: addr, User: "tester", IdentityAgent: "none", IdentitiesOnly: true,
		IdentityFiles: []IdentityFile{{Path: sshtest.WriteFile(t, "id", key.PEM(""))}},
		HostKeys:      []string{hostKey},
	}
}

// quick are settings that keep tests short.
func quick() Settings {
	return Settings{ReconnectMin: 10 * time.Millisecond, ReconnectMax: 100 * time.Millisecond, Linger: -1, ServerAliveInterval: time.Minute}
}

// open returns a started handle that is closed, with its connections, before
// the test ends.
func open(t testing.TB, cfg Config, set Settings) *Handle {
	t.Helper()
	h := Open(cfg, set, nil)
	h.Start()
	t.Cleanup(func() { closeAndWait(t, h) })
	return h
}

// closeAndWait closes a handle and, unless others hold its tunnel, ends that
// and waits for its end.
func closeAndWait(t testing.TB, h *Handle) {
	t.Helper()
	h.Close()
	h.pool.finish()
	sshtest.Eventually(t, 10*time.Second, "the tunnel's end", func() bool {
		h.pool.mu.Lock()
		defer h.pool.mu.Unlock()
		return h.pool.held || len(h.pool.members) == 0 && !h.pool.running
	})
}

// bench is a tunnel to an embedded bastion, with a connection between them.
type bench struct {
	key     *sshtest.Key
	bastion *sshtest.Bastion
	link    *sshtest.Link
	cfg     Config
	*Handle
}

func newBench(t testing.TB, set Settings, mutate func(*sshtest.BastionOptions)) *bench {
	t.Helper()
	b := &bench{key: sshtest.NewKey()}
	b.bastion = bastionFor(t, b.key, mutate)
	b.link = sshtest.NewLink(t, b.bastion.Addr())
	b.cfg = configFor(t, b.key, b.bastion.HostKeyFingerprint(), b.link.Addr())
	b.Handle = open(t, b.cfg, set)
	return b
}

// only returns the connection of a pool that has one, or nil. The caller holds
// mu.
func (p *pool) only() *member {
	if active := p.active(); len(active) > 0 {
		return active[0]
	}
	return nil
}

// linkOf is the connection that a channel is on.
func linkOf(c *Conn) *member { return c.Owner().(*member) }

// waitGone waits until a connection has drained.
func waitGone(t testing.TB, h *Handle, m *member) {
	t.Helper()
	sshtest.Eventually(t, 10*time.Second, "the end of a connection", func() bool {
		h.pool.mu.Lock()
		defer h.pool.mu.Unlock()
		return !slices.Contains(h.pool.members, m)
	})
}

// listen starts a loopback listener whose connections serve gets.
func listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return ln.Addr().String()
}

// echo is a server for listen.
func echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.(*net.TCPConn).CloseWrite()
}

// mustDial opens a channel or fails the test.
func mustDial(t testing.TB, h *Handle, addr string) *Conn {
	t.Helper()
	c, err := dialFor(t, h, addr, sshtest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func dialFor(t testing.TB, h *Handle, addr string, timeout time.Duration) (*Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return h.Dial(ctx, Target{Network: "tcp", Address: addr})
}

// roundTrip sends a message through an echoing conn.
func roundTrip(t testing.TB, c net.Conn) {
	t.Helper()
	const msg = "hello"
	_ = c.SetDeadline(time.Now().Add(sshtest.Patience))
	if _, err := io.WriteString(c, msg); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(msg))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != msg {
		t.Fatalf("got %q, %v", buf, err)
	}
	_ = c.SetDeadline(time.Time{})
}

// within runs f and fails the test if it takes longer than limit, or
// sshtest.Patience if that is longer.
func within(t testing.TB, limit time.Duration, what string, f func()) {
	t.Helper()
	limit = max(limit, sshtest.Patience)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("%s took longer than %s", what, limit)
	}
}

// observed returns settings' logger and what is logged to it.
func observed(set *Settings) *observer.ObservedLogs {
	core, logs := observer.New(zapcore.DebugLevel)
	set.Logger = zap.New(core)
	return logs
}

// wantLost checks that err is what a lost connection gives.
func wantLost(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v, want an io.ErrUnexpectedEOF", err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got a timeout: %v", err)
	}
}
