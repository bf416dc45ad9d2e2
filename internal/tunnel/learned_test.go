package tunnel

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// memory is a hostkey.Memory that can fail.
type memory struct {
	mu   sync.Mutex
	keys map[string]ssh.PublicKey
	err  error
}

var learnedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (m *memory) Recall(_ context.Context, route hostkey.Route) (*hostkey.LearnedKeys, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := m.keys[route.String()]
	if key == nil || m.err != nil {
		return nil, m.err
	}
	return &hostkey.LearnedKeys{Keys: []hostkey.LearnedKey{{Key: key, Learned: learnedAt}}, Forget: "forget " + route.Name}, nil
}

func (m *memory) Learn(ctx context.Context, route hostkey.Route, key ssh.PublicKey) (*hostkey.LearnedKeys, error) {
	m.mu.Lock()
	if m.err == nil && m.keys[route.String()] == nil {
		m.keys[route.String()] = key
	}
	m.mu.Unlock()
	return m.Recall(ctx, route)
}

func (m *memory) Update(context.Context, hostkey.Route, hostkey.Change) (hostkey.Change, error) {
	return hostkey.Change{}, nil
}

func (m *memory) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.keys)
}

// learned returns the key that was learned on a route.
func (m *memory) learned(route string) ssh.PublicKey {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys[route]
}

func newMemory() *memory { return &memory{keys: map[string]ssh.PublicKey{}} }

// unwritable is a memory that learns nothing.
type unwritable struct{ *memory }

func (unwritable) Learn(context.Context, hostkey.Route, ssh.PublicKey) (*hostkey.LearnedKeys, error) {
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
	if attempts := h.Status().Attempts; len(attempts) != 1 || attempts[0].Failed != connect.StepHostKey {
		t.Errorf("attempts: %+v", attempts)
	}
}
