package pool

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/renewal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestSameBytes: a key file that is written again as it was brings no login about,
// and one that has changed does.
func TestSameBytes(t *testing.T) {
	key, stranger := sshtest.NewKey(), sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	cfg := configFor(t, stranger, bastion.HostKeyFingerprint(), bastion.Addr())
	h := open(t, cfg, quick())
	_, err := dialFor(t, h, "web:80", sshtest.Patience)
	if _, ok := errors.AsType[*failure.AuthError](err); !ok {
		t.Fatalf("got %v, want an AuthError", err)
	}
	limiter, login := h.hosts[0].Limiter, h.hosts[0].Login(connect.Pace{})
	limiter.Postpone(login.Credentials, time.Now().Add(10*time.Minute))
	attempts := limiter.Failures(login)
	path := cfg.IdentityFiles[0].Path
	same, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		replaceFile(t, path, same)
		h.mu.Lock()
		h.wake()
		h.mu.Unlock()
		time.Sleep(3 * renewal.Settle)
	}
	if n := limiter.Failures(login) - attempts; n != 0 {
		t.Errorf("%d attempts for the same bytes", n)
	}
	replaceFile(t, path, key.PEM(""))
	sshtest.Eventually(t, sshtest.Patience, "a login with the new key", func() bool { return len(h.activeMembers()) > 0 })
}

// replaceFile puts a new file in the place of another.
func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
