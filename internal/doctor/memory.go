package doctor

// memory.go keeps an examination from learning host keys.

import (
	"context"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
)

// readOnlyMemory is a KeyMemory that learns nothing.
type readOnlyMemory struct {
	hostkey.Memory
	// mu guards the fields below.
	mu       sync.Mutex
	recalled *hostkey.LearnedKeys
	learned  bool
}

// Recall implements hostkey.Memory.
func (m *readOnlyMemory) Recall(ctx context.Context, route hostkey.Route) (*hostkey.LearnedKeys, error) {
	keys, err := m.Memory.Recall(ctx, route)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.recalled = keys
	return keys, err
}

// Learn implements hostkey.Memory. It remembers nothing beyond this command.
func (m *readOnlyMemory) Learn(_ context.Context, _ hostkey.Route, key ssh.PublicKey) (*hostkey.LearnedKeys, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learned = true
	return &hostkey.LearnedKeys{Keys: []hostkey.LearnedKey{{Key: key, Learned: time.Now()}}}, nil
}

// Update implements hostkey.Memory. It changes nothing.
func (m *readOnlyMemory) Update(context.Context, hostkey.Route, hostkey.Change) (hostkey.Change, error) {
	return hostkey.Change{}, nil
}

// isNew reports whether a key was accepted because it was the first.
func (m *readOnlyMemory) isNew() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.learned
}

// forget is what has learned keys forgotten, or "".
func (m *readOnlyMemory) forget() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.recalled == nil {
		return ""
	}
	return m.recalled.Forget
}
