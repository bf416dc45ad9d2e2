package tunnel

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestJump: three hops, the middle one shared, each name resolved by the hop
// before; after a loss of the first, a dial through the last connects all again.
func TestJump(t *testing.T) {
	key := sshtest.NewKey()
	third := bastionFor(t, key, nil)
	second := bastionFor(t, key, func(o *sshtest.BastionOptions) { o.Dial = dialTo(third.Addr()) })
	secondLink := sshtest.NewLink(t, second.Addr())
	first := bastionFor(t, key, func(o *sshtest.BastionOptions) { o.Dial = dialTo(secondLink.Addr()) })
	firstLink := sshtest.NewLink(t, first.Addr())

	hop := func(name, hostKey, addr string, jump *Handle) *Handle {
		cfg := configFor(t, key, hostKey, addr)
		cfg.Name = name
		h := Open(cfg, quick(), jump)
		h.Start()
		return h
	}
	h1 := hop("one", first.HostKeyFingerprint(), firstLink.Addr(), nil)
	h2 := hop("two", second.HostKeyFingerprint(), "second.internal:22", h1)
	h3 := hop("three", third.HostKeyFingerprint(), "third.internal:22", h2)
	other := hop("other", third.HostKeyFingerprint(), "third.internal:22", h2)
	addr := listen(t, echo)
	for _, h := range []*Handle{h3, other} {
		roundTrip(t, mustDial(t, h, addr))
	}
	if n := first.Stats().Logins + second.Stats().Logins; n != 2 {
		t.Errorf("%d logins on the shared hops, want 2", n)
	}
	if got := first.Opens()[0].Address; got != "second.internal:22" {
		t.Errorf("the first hop was asked for %q", got)
	}

	c := mustDial(t, h3, addr)
	roundTrip(t, c)
	firstLink.Reset()
	_, err := c.Read(make([]byte, 1))
	wantLost(t, err)
	sshtest.Eventually(t, 10*time.Second, "service", func() bool {
		c, err := dialFor(t, h3, addr, sshtest.Patience)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})

	// The hops live as long as somebody jumps through them.
	h1.Close()
	h2.Close()
	other.Close()
	roundTrip(t, mustDial(t, h3, addr))
	h3.Close()
	for _, h := range []*Handle{h3, other, h2, h1} {
		closeAndWait(t, h)
	}
}

// TestDownThroughJump: the error names both tunnels and the cause.
func TestDownThroughJump(t *testing.T) {
	key := sshtest.NewKey()
	cfg := configFor(t, key, sshtest.NewKey().Fingerprint(), "127.0.0.1:1")
	cfg.Name = "outer"
	outer := open(t, cfg, quick())
	cfg.Name, cfg.Address = "inner", "inner.internal:22"
	inner := Open(cfg, quick(), outer)
	inner.Start()
	defer closeAndWait(t, inner)
	_, err := dialFor(t, inner, "web:80", sshtest.Patience)
	if _, ok := errors.AsType[*DownError](err); !ok {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{`tunnel "inner" is down`, `through tunnel "outer"`, "connection refused"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

// TestScanThroughJump scans what only the jump reaches.
func TestScanThroughJump(t *testing.T) {
	b := newBench(t, quick(), nil)
	other := sshtest.NewKey()
	behind := bastionFor(t, other, nil)
	found, err := connect.Scan(t.Context(), Config{Address: behind.Addr()}, b.DialStream, 10*time.Second)
	if err != nil || len(found.Keys) != 1 || ssh.FingerprintSHA256(found.Keys[0]) != behind.HostKeyFingerprint() {
		t.Errorf("got %+v %v", found, err)
	}
}
