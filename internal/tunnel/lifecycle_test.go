package tunnel

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestHandlesShareATunnel: a reload that changes nothing keeps connection and
// channels, with no second login.
func TestHandlesShareATunnel(t *testing.T) {
	b := newBench(t, quick(), nil)
	c := mustDial(t, b.Handle, listen(t, echo))
	for range 10 {
		h := Open(b.cfg, quick(), nil)
		h.Start()
		b.Close()
		b.Handle = h
		roundTrip(t, c)
		roundTrip(t, mustDial(t, h, listen(t, echo)))
	}
	defer closeAndWait(t, b.Handle)
	if n := b.bastion.Stats().Logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// TestAnother: another handle has the same settings, those that are zero included.
func TestAnother(t *testing.T) {
	set := quick()
	set.Lazy, set.DrainTimeout = true, -1
	other := newBench(t, set, nil).Another()
	defer closeAndWait(t, other)
	if other.set.DrainTimeout != 0 || other.set.Linger != 0 {
		t.Errorf("drain timeout %s, linger %s", other.set.DrainTimeout, other.set.Linger)
	}
}

// TestChangedTunnelDrains: a reload that changes the user serves on a new
// connection; the old one lives until its channels end, and no longer.
func TestChangedTunnelDrains(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	old := mustDial(t, b.Handle, addr)
	roundTrip(t, old)

	cfg := b.cfg
	cfg.User = "other"
	h := open(t, cfg, quick())
	b.Close()
	roundTrip(t, mustDial(t, h, addr))
	roundTrip(t, old)
	if n := b.link.Active(); n != 2 {
		t.Errorf("%d connections while draining, want 2", n)
	}
	// Requests in flight may still dial, and get the old connection.
	late := mustDial(t, b.Handle, addr)
	roundTrip(t, late)
	_ = late.Close()
	_ = old.Close()
	sshtest.Eventually(t, 5*time.Second, "the old connection's end", func() bool { return b.link.Active() == 1 })
	if n := b.bastion.Stats().Logins; n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
	// One that needs the old tunnel after that redials it.
	late = mustDial(t, b.Handle, addr)
	roundTrip(t, late)
	_ = late.Close()
	sshtest.Eventually(t, 5*time.Second, "the redialed connection's end", func() bool { return b.link.Active() == 1 })
}

// TestDrainTimeout: at its end the channels of a tunnel that nobody holds end,
// and no more are opened.
func TestDrainTimeout(t *testing.T) {
	set := quick()
	set.DrainTimeout = 300 * time.Millisecond
	b := newBench(t, set, nil)
	c := mustDial(t, b.Handle, listen(t, echo))
	roundTrip(t, c)
	b.Close()
	roundTrip(t, c)
	_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
	_, err := c.Read(make([]byte, 1))
	wantLost(t, err)
	if _, err := dialFor(t, b.Handle, "127.0.0.1:1", time.Second); !errors.Is(err, ErrClosed) {
		t.Errorf("dial after drain_timeout: %v", err)
	}
}

// TestNeverStarted: a handle that is opened and closed, as by caddy validate,
// connects to nothing, though something dials through it.
func TestNeverStarted(t *testing.T) {
	key := sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	h := Open(configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr()), quick(), nil)
	failed := make(chan error, 1)
	go func() {
		_, err := h.Dial(context.Background(), Target{Network: "tcp", Address: "web:80"})
		failed <- err
	}()
	_, err := dialFor(t, h, "web:80", 20*time.Millisecond)
	if _, ok := errors.AsType[*TimeoutError](err); !ok {
		t.Errorf("dial before Start: %v", err)
	}
	closeAndWait(t, h)
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Errorf("dial across Close: %v", err)
	}
	if n := bastion.Stats().Connects; n != 0 {
		t.Errorf("%d connections", n)
	}
}

// TestDialWaitsForStart: dials that come before Start, as health checks do,
// are served after it.
func TestDialWaitsForStart(t *testing.T) {
	key := sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	h := Open(configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr()), quick(), nil)
	defer closeAndWait(t, h)
	addr := listen(t, echo)
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := dialFor(t, h, addr, sshtest.Patience)
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.Close()
	})
	h.Start()
	wg.Wait()
}

// TestLazy: a lazy tunnel connects at first use, and after a loss at the next.
func TestLazy(t *testing.T) {
	set := quick()
	set.Lazy = true
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	if n := b.link.Accepted(); n != 0 {
		t.Fatalf("%d connections before first use", n)
	}
	c := mustDial(t, b.Handle, addr)
	roundTrip(t, c)
	b.link.Reset()
	_, err := c.Read(make([]byte, 1))
	wantLost(t, err)
	sshtest.Eventually(t, time.Second, "rest", func() bool {
		return b.Status().State == report.StateIdle
	})
	if n := b.link.Accepted(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	roundTrip(t, mustDial(t, b.Handle, addr))
}

// TestReconnect: after a loss the next dial waits for the first attempt, and
// the log says once what happened.
func TestReconnect(t *testing.T) {
	set := quick()
	logs := observed(&set)
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	for range 5 {
		roundTrip(t, mustDial(t, b.Handle, addr))
		b.link.Cut()
	}
	roundTrip(t, mustDial(t, b.Handle, addr))
	if n := logs.FilterMessage("connected").Len(); n != 1 {
		t.Errorf("%d times connected, want 1", n)
	}
	// A dial may go on before the log has been written.
	sshtest.Eventually(t, 10*time.Second, "the log to tell of all reconnects", func() bool {
		return logs.FilterMessage("reconnected").Len() == 5
	})
	if n := logs.FilterMessage("connection lost").Len(); n != 5 {
		t.Errorf("lost %d times, want 5", n)
	}
	for _, p := range logs.FilterMessage("reconnected").All() {
		if f := p.ContextMap(); f["tunnel"] != "test" || f["downtime"] == nil || f["auth"] == "" || f["host_key"] != b.bastion.HostKeyFingerprint() {
			t.Errorf("fields %v", f)
		}
	}
}

// TestDown: while the bastion is down dials fail at once with the cause, and
// asking brings the tunnel back soon after the bastion is.
func TestDown(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	roundTrip(t, mustDial(t, b.Handle, addr))
	b.link.Refuse()
	b.link.Reset()
	var down *DownError
	sshtest.Eventually(t, 5*time.Second, "a DownError", func() bool {
		_, err := dialFor(t, b.Handle, addr, sshtest.Patience)
		return errors.As(err, &down)
	})
	within(t, time.Second, "100 dials", func() {
		for range 100 {
			if _, err := dialFor(t, b.Handle, addr, sshtest.Patience); !errors.As(err, &down) {
				t.Fatalf("got %v", err)
			}
		}
	})
	if !strings.Contains(down.Error(), "connection refused") || down.RetryAfter < time.Second {
		t.Errorf("%v, retry after %s", down, down.RetryAfter)
	}
	b.link.Accept()
	sshtest.Eventually(t, 5*time.Second, "service", func() bool {
		c, err := dialFor(t, b.Handle, addr, sshtest.Patience)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// TestBadHandshakes: no server keeps a connect longer than connect_timeout, and
// each gets its own words.
func TestBadHandshakes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault sshtest.Faults
		want  string
	}{
		{"silent", sshtest.Faults{Handshake: sshtest.HandshakeSilent}, "no SSH banner: no progress within connect_timeout (300ms)"},
		{"version only", sshtest.Faults{Handshake: sshtest.HandshakeVersionOnly}, "key exchange: no progress within connect_timeout"},
		{"tarpit", sshtest.Faults{Handshake: sshtest.HandshakeTarpit, TarpitInterval: 20 * time.Millisecond}, "instead of an SSH banner: no progress within connect_timeout"},
		{"drop", sshtest.Faults{Handshake: sshtest.HandshakeDrop}, "no SSH banner"},
		{"drop after version", sshtest.Faults{Handshake: sshtest.HandshakeDropAfterVersion}, "in the key exchange"},
		{"hung authentication", sshtest.Faults{HoldAuth: true}, "in the authentication: no progress within connect_timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			key := sshtest.NewKey()
			bastion := bastionFor(t, key, nil)
			bastion.Misbehave(tt.fault)
			set := quick()
			set.ConnectTimeout = 3 * time.Second // a machine that does much at once gets as far in this time
			switch {
			case tt.name == "silent":
				set.ConnectTimeout /= 10
			case strings.Contains(tt.want, "no progress"):
				sshtest.Takes(t, set.ConnectTimeout)
			}
			h := open(t, configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr()), set)
			start := time.Now()
			_, err := dialFor(t, h, "web:80", sshtest.Patience)
			var down *DownError
			if !errors.As(err, &down) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if took := time.Since(start); took > sshtest.Patience/2 {
				t.Errorf("took %s", took)
			}
			bastion.Misbehave(sshtest.Faults{})
		})
	}
}

// TestFingerprintOfAnotherKey: a host_key that pins one of several keys by its
// fingerprint works whichever the bastion would show first.
func TestFingerprintOfAnotherKey(t *testing.T) {
	key := sshtest.NewKey()
	ed, ecdsa, rsa := sshtest.NewKey(), sshtest.NewECDSAKey(), sshtest.NewRSAKey(2048)
	bastion := bastionFor(t, key, func(o *sshtest.BastionOptions) { o.HostKeys = []ssh.Signer{ed, ecdsa, rsa} })
	addr := listen(t, echo)
	for _, pinned := range []*sshtest.Key{ed, ecdsa, rsa} {
		roundTrip(t, mustDial(t, open(t, configFor(t, key, pinned.Fingerprint(), bastion.Addr()), quick()), addr))
	}
	h := open(t, configFor(t, key, sshtest.NewKey().Fingerprint(), bastion.Addr()), quick())
	_, err := dialFor(t, h, addr, sshtest.Patience)
	if _, ok := errors.AsType[*failure.HostKeyError](err); !ok {
		t.Errorf("got %v, want a HostKeyError", err)
	}
}

// TestConnectHungAgent: an agent that accepts and says nothing keeps a connect no
// longer than connect_timeout, and is named.
func TestConnectHungAgent(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	t.Parallel()
	key := sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	path := filepath.Join(t.TempDir(), "agent")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr())
	cfg.IdentityFiles, cfg.IdentitiesOnly, cfg.IdentityAgent = nil, false, path
	set := quick()
	set.ConnectTimeout = 3 * time.Second
	_, err = dialFor(t, open(t, cfg, set), "web:80", 10*time.Second)
	for _, want := range []string{"waiting for the agent at", path, "within connect_timeout (3s)"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// TestRefusedWaitsForFiles: after a refused login a changed file brings the
// next attempt at once.
func TestRefusedWaitsForFiles(t *testing.T) {
	key, stranger := sshtest.NewKey(), sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	cfg := configFor(t, stranger, bastion.HostKeyFingerprint(), bastion.Addr())
	h := open(t, cfg, quick())
	_, err := dialFor(t, h, "web:80", sshtest.Patience)
	if _, ok := errors.AsType[*failure.AuthError](err); !ok {
		t.Fatalf("got %v, want an AuthError", err)
	}
	postpone(h) // past the first, quick attempts

	if err := os.WriteFile(cfg.IdentityFiles[0].Path, key.PEM(""), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := listen(t, echo)
	sshtest.Eventually(t, sshtest.Patience, "a login with the new key", func() bool {
		c, err := dialFor(t, h, addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}
