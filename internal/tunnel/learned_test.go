package tunnel

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// memory is a KeyMemory that can fail.
type memory struct {
	mu   sync.Mutex
	keys map[string]ssh.PublicKey
	err  error
}

var learnedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (m *memory) Recall(_ context.Context, route Route) (*LearnedKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := m.keys[route.String()]
	if key == nil || m.err != nil {
		return nil, m.err
	}
	return &LearnedKey{Key: key, Learned: learnedAt, Forget: "forget " + route.Name}, nil
}

func (m *memory) Learn(ctx context.Context, route Route, key ssh.PublicKey) (*LearnedKey, error) {
	m.mu.Lock()
	if m.err == nil && m.keys[route.String()] == nil {
		m.keys[route.String()] = key
	}
	m.mu.Unlock()
	return m.Recall(ctx, route)
}

func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.keys)
}

func newMemory() *memory { return &memory{keys: map[string]ssh.PublicKey{}} }

// TestLearn shows keys to what accept-new has made of a configuration.
func TestLearn(t *testing.T) {
	one, two, ca := publicOf(t, edKey(1)), publicOf(t, edKey(2)), publicOf(t, edKey(3))
	f1, f2 := ssh.FingerprintSHA256(one), ssh.FingerprintSHA256(two)
	const keygen = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
	dir := t.TempDir()
	write(t, filepath.Join(dir, "revoked"), authorized(one)+"\n")

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
		{name: "known_hosts of others", known: "c.example " + authorized(two), key: one, after: one},
		{name: "learned", learned: one, key: one, after: one},
		{
			name: "changed", learned: two, key: one, after: two,
			err: `host key mismatch for "b.example:22": offered ssh-ed25519 ` + f1 + ", but expected ssh-ed25519 " + f2 + " (learned at 2026-01-02T03:04:05Z); " +
				"either somebody is in the middle, or the bastion has a new key: compare it with " + keygen + " there, and only then forget the old one with: forget b.example",
		},
		{name: "known otherwise", known: "b.example " + authorized(one), learned: two, key: one, after: two},
		{
			name: "another known", known: "b.example " + authorized(two), key: one,
			err: `host key mismatch for "b.example:22": offered ssh-ed25519 ` + f1 + ", but expected ssh-ed25519 " + f2 + " (kh:1)",
		},
		{
			name: "another known, and this one learned", known: "b.example " + authorized(two), learned: one, key: one, after: one,
			err: `host key mismatch for "b.example:22": offered ssh-ed25519 ` + f1 + ", but expected ssh-ed25519 " + f2 + " (kh:1)",
		},
		{
			name: "another fingerprint", edit: func(c *Config) { c.HostKeys = []string{f2} }, key: one,
			err: `host key mismatch for "b.example:22": offered ssh-ed25519 ` + f1 + ", but expected " + f2 + " (host_key)",
		},
		{
			name: "an authority", edit: func(c *Config) { c.HostCertificateAuthorities = []string{authorized(ca)} }, key: one,
			err: `host key of "b.example:22" has no certificate`,
		},
		{
			name: "an authority that is absent", edit: func(c *Config) { c.HostCertificateAuthorities = []string{dir + "/ca.pub"} }, key: one,
			err: `host key of "b.example:22" is unknown: offered ssh-ed25519 ` + f1 + `; it is not learned, since host_certificate_authority "` + dir + `/ca.pub" does not exist`,
		},
		{name: "revoked", known: "@revoked * " + authorized(one), key: one, err: `host key of "b.example:22" is revoked`},
		{name: "learned and revoked", edit: func(c *Config) { c.RevokedHostKeys = []string{dir + "/revoked"} }, learned: one, key: one, after: one, err: `host key of "b.example:22" is revoked`},
		{name: "another revoked", known: "@revoked * " + authorized(two), key: one, after: one},
		{name: "short", key: publicOf(t, rsaKey(t, 1024)), err: `host key of "b.example:22" is refused: RSA key of 1024 bits`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := hostConfig(t, test.known)
			if test.edit != nil {
				test.edit(cfg)
			}
			m, route := newMemory(), Route{Name: "b.example"}
			if test.learned != nil {
				m.keys[route.String()] = test.learned
			}
			core, logs := observer.New(zap.WarnLevel)
			h, err := loadHostKeys(cfg, zap.New(core))
			if err != nil {
				t.Fatal(err)
			}
			if err := h.recall(t.Context(), m, route); err != nil {
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
			if (got == nil) != (test.after == nil) || got != nil && !algorithms.SameKey(got, test.after) {
				t.Errorf("learned %v", got)
			}
			news := test.learned == nil && test.after != nil
			if told := logs.FilterMessageSnippet("learned the host key").FilterField(zap.String("host_key", "ssh-ed25519 "+f1)).Len() == 1; told != news {
				t.Errorf("told of: %v", told)
			}
		})
	}
}

// TestLearnLater checks what two that learn at the same time do, and a memory
// that fails.
func TestLearnLater(t *testing.T) {
	one, two := publicOf(t, edKey(1)), publicOf(t, edKey(2))
	m, route := newMemory(), Route{Name: "b.example", Via: []string{"a"}}
	var loaded []*hostKeys
	for range 2 {
		h := loadFor(t, hostConfig(t, ""))
		if err := h.recall(t.Context(), m, route); err != nil {
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

	h := loadFor(t, hostConfig(t, ""))
	m.err = errors.New("out of order")
	wantError(t, h.recall(t.Context(), m, route), `looking up the learned host key of "b.example:22": out of order`)
	m.err = nil
	m.forget()
	if err := h.recall(t.Context(), m, route); err != nil {
		t.Fatal(err)
	}
	m.err = errors.New("out of order")
	wantError(t, h.verify(t.Context(), one), `remembering the host key of "b.example:22": out of order`)
	if h.accepted() != nil {
		t.Error("accepted what could not be remembered")
	}
}

// TestRoute checks by what a bastion is remembered.
func TestRoute(t *testing.T) {
	outer := Open(Config{Name: "outer", Address: "A.example:22"}, quick(), nil)
	defer closeAndWait(t, outer)
	middle := Open(Config{Name: "middle", Address: "[fd00::1]:2222", HostKeyAlias: "Middle"}, quick(), outer)
	defer closeAndWait(t, middle)
	inner := Open(Config{Name: "inner", Address: "[FD00::2]:2222"}, quick(), middle)
	defer closeAndWait(t, inner)
	for want, h := range map[string]*Handle{"a.example": outer, "middle via a.example": middle, "[fd00::2]:2222 via a.example, middle": inner} {
		if got := h.entry.route(&h.entry.cfg).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// unwritable is a memory that learns nothing.
type unwritable struct{ *memory }

func (unwritable) Learn(context.Context, Route, ssh.PublicKey) (*LearnedKey, error) {
	return nil, errors.New("read-only file system")
}

// TestLearnUnwritable: that a host key cannot be kept is no fault of the key
// exchange.
func TestLearnUnwritable(t *testing.T) {
	key := sshtest.NewKey()
	b := bastionFor(t, key, nil)
	cfg := configFor(t, key, "", b.Addr())
	cfg.Name, cfg.HostKeys, cfg.AcceptNewHostKey = t.Name(), nil, true
	set := quick()
	set.KeyMemory = unwritable{newMemory()}
	h := open(t, cfg, set)
	err := h.Connect(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "remembering the host key of \""+b.Addr()+"\": read-only file system") || failure.CauseOf(err) != failure.CauseConfiguration {
		t.Errorf("%v, cause %q", err, failure.CauseOf(err))
	}
	if attempts := h.Status().Attempts; len(attempts) != 1 || attempts[0].Failed != StepHostKey {
		t.Errorf("attempts: %+v", attempts)
	}
}
