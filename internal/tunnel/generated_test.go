package tunnel

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// keyStore is an sshauth.KeyStore that can fail.
type keyStore struct {
	// mu guards the fields below.
	mu         sync.Mutex
	keys       []ssh.Signer
	err        error // of reading
	confirmErr error
	confirmed  []string // fingerprints
}

func (s *keyStore) LoginKeys(context.Context, string) ([]ssh.Signer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys, s.err
}

func (s *keyStore) StoredKeys(ctx context.Context, name string) ([]ssh.Signer, error) {
	return s.LoginKeys(ctx, name)
}

func (s *keyStore) Confirm(_ context.Context, _ string, key ssh.PublicKey) (ssh.PublicKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed = append(s.confirmed, ssh.FingerprintSHA256(key))
	return nil, s.confirmErr
}

func (s *keyStore) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// generatedConfig is that of a tunnel with a generated key.
func generatedConfig(t *testing.T, b *sshtest.Bastion) Config {
	cfg := configFor(t, sshtest.NewKey(), b.HostKeyFingerprint(), b.Addr())
	cfg.Name, cfg.IdentityFiles, cfg.Identities = t.Name(), nil, []Identity{{Generated: "prod"}}
	return cfg
}

// TestKeyStoreUnreadable: without its keys a tunnel is down, logs in with nothing else,
// and reads them again at the next attempt.
func TestKeyStoreUnreadable(t *testing.T) {
	key, other := sshtest.NewKey(), sshtest.NewKey()
	b := bastionFor(t, key, func(o *sshtest.BastionOptions) { o.AuthorizedKeys = append(o.AuthorizedKeys, other.PublicKey()) })
	cfg := generatedConfig(t, b)
	cfg.IdentityFiles = []IdentityFile{{Path: sshtest.WriteFile(t, "other", other.PEM(""))}}
	store := &keyStore{keys: []ssh.Signer{sshtest.SignerFor(t, key.Private())}, err: errors.New("input/output error")}
	set := quick()
	set.KeyStore = store
	h := open(t, cfg, set)
	err := h.Connect(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "reading the key of identity auto: input/output error") || failure.CauseOf(err) != failure.CauseConfiguration {
		t.Errorf("%v, cause %q", err, failure.CauseOf(err))
	}
	store.set(nil)
	sshtest.Eventually(t, sshtest.Patience, "it connects", func() bool { return h.Connect(t.Context()) == nil })
	if len(store.confirmed) > 0 {
		t.Errorf("the only key is confirmed: %q", store.confirmed)
	}

	cfg = generatedConfig(t, b)
	cfg.Name += " without a store"
	if err := open(t, cfg, quick()).Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no storage to keep it in") {
		t.Errorf("without a store: %v", err)
	}
}

// TestConfirmFails: that the old key could not be deleted is logged, and the new one serves.
func TestConfirmFails(t *testing.T) {
	next, current := sshtest.NewKey(), sshtest.NewKey()
	b := bastionFor(t, next, nil)
	store := &keyStore{keys: []ssh.Signer{sshtest.SignerFor(t, next.Private()), sshtest.SignerFor(t, current.Private())}, confirmErr: errors.New("read-only file system")}
	core, logs := observer.New(zap.WarnLevel)
	set := quick()
	set.KeyStore, set.Logger = store, zap.New(core)
	h := open(t, generatedConfig(t, b), set)
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := logs.FilterMessage("the replaced key of identity auto could not be deleted").All()
	if len(found) != 1 || found[0].ContextMap()["key"] != next.Fingerprint() || found[0].ContextMap()["error"] != "read-only file system" {
		t.Errorf("logged %v", found)
	}
	if len(store.confirmed) != 1 || store.confirmed[0] != next.Fingerprint() {
		t.Errorf("confirmed %q", store.confirmed)
	}
}
