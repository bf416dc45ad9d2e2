package tunnel

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestConnect: it has a lazy tunnel connect, opens no channel and holds no
// place for one; and it tells why that failed, with the host key that is not
// known.
func TestConnect(t *testing.T) {
	t.Parallel()
	key := sshtest.NewKey()
	b := bastionFor(t, key, nil)
	set := quick()
	set.Lazy = true
	h := open(t, configFor(t, key, b.HostKeyFingerprint(), b.Addr()), set)
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := h.Status(); s.State != report.StateUp || s.Channels != 0 || s.PendingOpens != 0 {
		t.Errorf("the tunnel is %+v", s)
	}
	if n := len(b.Opens()); n != 0 {
		t.Errorf("it has opened %d channels", n)
	}

	cfg := configFor(t, key, "", b.Addr())
	cfg.HostKeys = nil
	h = open(t, cfg, quick())
	unknown, ok := errors.AsType[*failure.HostKeyError](h.Connect(t.Context()))
	if !ok || unknown.Cause != failure.CauseHostKeyUnknown || unknown.Key == nil {
		t.Fatalf("got %+v", unknown)
	}
	// With that key it is known.
	cfg.HostKeys = []string{sshtest.AuthorizedKey(unknown.Key)}
	if err := open(t, cfg, quick()).Connect(t.Context()); err != nil {
		t.Error(err)
	}

	// It asks whether it is let in without credentials.
	identities := cfg.IdentityFiles
	cfg.IdentityFiles = nil
	refused, ok := errors.AsType[*failure.AuthError](open(t, cfg, quick()).Connect(t.Context()))
	if !ok || refused.Cause != failure.CauseNoCredentials {
		t.Errorf("without an identity: %v", refused)
	}

	// Check finds what connecting would solve.
	cfg.IdentityFiles, cfg.HostKeys, cfg.KnownHosts = identities, nil, nil
	_, err := cfg.Check()
	if e, ok := errors.AsType[*failure.HostKeyError](err); !ok || e.Cause != failure.CauseHostKeyUnknown {
		t.Errorf("without a known key: %v", err)
	}
}

// TestConnectGivesUp when its context ends, before the handle is started and
// after.
func TestConnectGivesUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // and nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	key := sshtest.NewKey()
	h := Open(configFor(t, key, key.Fingerprint(), l.Addr().String()), quick(), nil)
	t.Cleanup(func() { closeAndWait(t, h) })
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, ok := errors.AsType[*TimeoutError](h.Connect(ctx))
		cancel()
		if !ok {
			t.Error("it does not fail with a TimeoutError")
		}
		h.Start()
	}
}

// TestEstablished waits for the bastion's answer, a refusal included.
func TestEstablished(t *testing.T) {
	sshtest.Takes(t, time.Second)
	t.Parallel()
	key := sshtest.NewKey()
	var permitted atomic.Bool
	b := bastionFor(t, key, func(o *sshtest.BastionOptions) {
		o.PermitListen = func(string, string) error {
			if permitted.Load() {
				return nil
			}
			return errors.New("no")
		}
	})
	h := open(t, configFor(t, key, b.HostKeyFingerprint(), b.Addr()), quick())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	ln, err := h.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), remote.RefusedFor/4)
	_, ok := errors.AsType[*TimeoutError](ln.Established(ctx))
	cancel()
	if !ok {
		t.Error("a refusal counts at once")
	}
	if err := ln.Established(t.Context()); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("refused, it returns %v", err)
	}
	permitted.Store(true)
	sshtest.Eventually(t, 10*time.Second, "the bastion listens", func() bool { return ln.Established(t.Context()) == nil })
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	_ = ln.Close()
	if err := ln.Established(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed, it returns %v", err)
	}
}
