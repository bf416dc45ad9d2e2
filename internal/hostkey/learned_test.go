package hostkey

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// memory is a Memory that can fail.
type memory struct {
	mu   sync.Mutex
	keys map[string][]ssh.PublicKey
	err  error
}

var learnedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (m *memory) Recall(_ context.Context, route Route) (*LearnedKeys, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := m.keys[route.String()]
	if keys == nil || m.err != nil {
		return nil, m.err
	}
	learned := &LearnedKeys{Forget: "forget " + route.Name}
	for _, key := range keys {
		learned.Keys = append(learned.Keys, LearnedKey{Key: key, Learned: learnedAt})
	}
	return learned, nil
}

func (m *memory) Learn(ctx context.Context, route Route, key ssh.PublicKey) (*LearnedKeys, error) {
	m.mu.Lock()
	if m.err == nil && m.keys[route.String()] == nil {
		m.keys[route.String()] = []ssh.PublicKey{key}
	}
	m.mu.Unlock()
	return m.Recall(ctx, route)
}

// Update applies the change, without the checks of a real Memory.
func (m *memory) Update(_ context.Context, route Route, change Change) (Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return Change{}, m.err
	}
	keys := slices.DeleteFunc(slices.Clone(m.keys[route.String()]), func(k ssh.PublicKey) bool { return contains(change.Remove, k) })
	m.keys[route.String()] = append(keys, change.Add...)
	return change, nil
}

func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.keys)
}

func newMemory() *memory { return &memory{keys: map[string][]ssh.PublicKey{}} }

// TestLearn shows keys to what accept-new has made of a configuration.
func TestLearn(t *testing.T) {
	one, two, ca := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2)), sshtest.PublicOf(t, sshtest.EdKey(3))
	f1, f2 := ssh.FingerprintSHA256(one), ssh.FingerprintSHA256(two)
	const keygen = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
	dir := t.TempDir()
	sshtest.Write(t, filepath.Join(dir, "revoked"), sshtest.AuthorizedKey(one)+"\n")

	for _, test := range []struct {
		name    string
		known   string // a known_hosts file
		edit    func(*Config)
		learned ssh.PublicKey // before, or nil
		key     ssh.PublicKey
		err     string
		after   ssh.PublicKey // learned in the end, or nil
	}{
		{name: "new", key: one, after: one},
		{name: "known_hosts of others", known: "c.example " + sshtest.AuthorizedKey(two), key: one, after: one},
		{name: "learned", learned: one, key: one, after: one},
		{
			name: "changed", learned: two, key: one, after: two,
			err: `host key mismatch for "b.example:22": offered ssh-ed25519 ` + f1 + ", but expected ssh-ed25519 " + f2 + " (learned at 2026-01-02T03:04:05Z); " +
				"either somebody is in the middle, or the bastion has a new key: compare it with " + keygen + " there, and only then forget the old one with: forget b.example",
		},
		{name: "known otherwise", known: "b.example " + sshtest.AuthorizedKey(one), learned: two, key: one, after: two},
		{
			name: "another known", known: "b.example " + sshtest.AuthorizedKey(two), key: one,
			err: `host key mismatch for "b.example:22": offered ssh-ed25519 ` + f1 + ", but expected ssh-ed25519 " + f2 + " (kh:1)",
		},
		{
			name: "another known, and this one learned", known: "b.example " + sshtest.AuthorizedKey(two), learned: one, key: one, after: one,
			err: `host key mismatch for "b.example:22": offered ssh-ed25519 ` + f1 + ", but expected ssh-ed25519 " + f2 + " (kh:1)",
		},
		{
			name: "another fingerprint", edit: func(c *Config) { c.HostKeys = []string{f2} }, key: one,
			err: `host key mismatch for "b.example:22": offered ssh-ed25519 ` + f1 + ", but expected " + f2 + " (host_key)",
		},
		{
			name: "an authority", edit: func(c *Config) { c.HostCertificateAuthorities = []string{sshtest.AuthorizedKey(ca)} }, key: one,
			err: `host key of "b.example:22" has no certificate`,
		},
		{
			name: "an authority that is absent", edit: func(c *Config) { c.HostCertificateAuthorities = []string{dir + "/ca.pub"} }, key: one,
			err: `host key of "b.example:22" is unknown: offered ssh-ed25519 ` + f1 + `; it is not learned, since host_certificate_authority "` + dir + `/ca.pub" does not exist`,
		},
		{name: "revoked", known: "@revoked * " + sshtest.AuthorizedKey(one), key: one, err: `host key of "b.example:22" is revoked`},
		{name: "learned and revoked", edit: func(c *Config) { c.RevokedHostKeys = []string{dir + "/revoked"} }, learned: one, key: one, after: one, err: `host key of "b.example:22" is revoked`},
		{name: "another revoked", known: "@revoked * " + sshtest.AuthorizedKey(two), key: one, after: one},
		{name: "short", key: sshtest.PublicOf(t, sshtest.RSAKey(t, 1024)), err: `host key of "b.example:22" is refused: RSA key of 1024 bits`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := hostConfig(t, test.known)
			if test.edit != nil {
				test.edit(cfg)
			}
			m, route := newMemory(), Route{Name: "b.example"}
			if test.learned != nil {
				m.keys[route.String()] = []ssh.PublicKey{test.learned}
			}
			core, logs := observer.New(zap.WarnLevel)
			cfg.AcceptNewHostKey, cfg.Memory = true, m
			h, err := Load(t.Context(), cfg, zap.New(core))
			if err != nil {
				t.Fatal(err)
			}
			err = h.verify(t.Context(), test.key)
			text := ""
			if err != nil {
				text = err.Error()
				for _, path := range cfg.KnownHosts {
					text = strings.ReplaceAll(text, filepath.Dir(path)+"/", "")
				}
			}
			if (err != nil) != (test.err != "") || !strings.HasPrefix(text, test.err) {
				t.Errorf("error %q\nwant  %q", text, test.err)
			}
			got := m.keys[route.String()]
			if (got == nil) != (test.after == nil) || got != nil && !algorithms.SameKey(got[0], test.after) {
				t.Errorf("learned %v", got)
			}
			news := test.learned == nil && test.after != nil
			if told := logs.FilterMessageSnippet("learned the host key").FilterField(zap.String("host_key", "ssh-ed25519 "+f1)).Len() == 1; told != news {
				t.Errorf("logged: %v", told)
			}
		})
	}
}

// learning returns what verifies the key of a server that nothing is known about.
func learning(t *testing.T, m Memory) (*Verifier, error) {
	t.Helper()
	cfg := hostConfig(t, "")
	cfg.AcceptNewHostKey, cfg.Memory = true, m
	return Load(t.Context(), cfg, zap.NewNop())
}

// TestLearnLater checks what two that learn at the same time do, and a memory
// that fails.
func TestLearnLater(t *testing.T) {
	one, two := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2))
	m := newMemory()
	var loaded []*Verifier
	for range 2 {
		h, err := learning(t, m)
		if err != nil {
			t.Fatal(err)
		}
		loaded = append(loaded, h)
	}
	if err := loaded[0].verify(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := loaded[1].verify(t.Context(), two); err == nil || !strings.Contains(err.Error(), ssh.FingerprintSHA256(one)+" (learned at ") {
		t.Errorf("the second one: %v", err)
	}

	m.err = errors.New("out of order")
	_, err := learning(t, m)
	sshtest.WantError(t, err, `looking up the learned host key of "b.example:22": out of order`)
	m.err = nil
	m.forget()
	h, err := learning(t, m)
	if err != nil {
		t.Fatal(err)
	}
	m.err = errors.New("out of order")
	sshtest.WantError(t, h.verify(t.Context(), one), `remembering the host key of "b.example:22": out of order`)
	if h.Accepted() != nil {
		t.Error("accepted what could not be remembered")
	}
}

// slowMemory is a Memory that takes its time to learn.
type slowMemory struct {
	*memory
	learning, learn chan struct{}
}

func (m slowMemory) Learn(ctx context.Context, route Route, key ssh.PublicKey) (*LearnedKeys, error) {
	close(m.learning)
	<-m.learn
	return m.memory.Learn(ctx, route, key)
}

// TestLearnSlowly: while a host key is being remembered, nobody waits who asks what
// is known of it, such as an attempt that has taken too long.
func TestLearnSlowly(t *testing.T) {
	t.Parallel()
	m := slowMemory{newMemory(), make(chan struct{}), make(chan struct{})}
	h, err := learning(t, m)
	if err != nil {
		t.Fatal(err)
	}
	key := sshtest.PublicOf(t, sshtest.EdKey(1))
	verified := make(chan error, 1)
	go func() { verified <- h.verify(t.Context(), key) }()
	<-m.learning
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if h.Accepted() != nil || h.Retry() || len(h.Algorithms()) == 0 {
			t.Error("the key is accepted before it is learned")
		}
	}()
	select {
	case <-asked:
	case <-time.After(sshtest.Patience):
		t.Error("asking took longer than 10s")
	}
	close(m.learn)
	if err := <-verified; err != nil || h.Accepted() == nil {
		t.Errorf("got %v", err)
	}
}
