// keymemory.go remembers what a bastion has accepted and refused: offered first,
// the right key costs none of its MaxAuthTries and looks like no attack.

package tunnel

import (
	"cmp"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// keyMemory is what one host has said to the logins of one tunnel. A nil one
// remembers nothing.
type keyMemory struct {
	// mu guards the fields below.
	mu sync.Mutex
	// accepted is what the last login that succeeded was let in with: the blobs of
	// keys, and "" for all else.
	accepted []string
	// refused are the blobs of keys that were refused since.
	refused map[string]bool
}

// sort puts first what was accepted, and last what the bastion refused when it let
// nobody in: it may have ended the connection before it saw the others.
func (m *keyMemory) sort(offers []offer) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	rank := func(o offer) int {
		switch {
		case slices.Contains(m.accepted, o.blob):
			return 0
		case slices.ContainsFunc(m.accepted, func(blob string) bool { return samePlainKey(blob, o.blob) }):
			return 1 // with a new certificate, say
		case !m.refused[o.blob]:
			return 2
		default:
			return 3
		}
	}
	slices.SortStableFunc(offers, func(a, b offer) int { return cmp.Compare(rank(a), rank(b)) })
}

// samePlainKey tells whether two blobs are of one key, or of certificates for it.
func samePlainKey(a, b string) bool {
	one, err := ssh.ParsePublicKey([]byte(a))
	other, otherErr := ssh.ParsePublicKey([]byte(b))
	return err == nil && otherErr == nil && algorithms.SameKey(algorithms.PlainKey(one), algorithms.PlainKey(other))
}

// withoutKeys tells whether the last login that succeeded needed no key.
func (m *keyMemory) withoutKeys() bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.accepted) > 0 && !slices.ContainsFunc(m.accepted, func(blob string) bool { return blob != "" })
}

// succeeded notes what a login was let in with.
func (m *keyMemory) succeeded(attempts []*authAttempt) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accepted, m.refused = nil, nil
	for _, t := range attempts {
		m.accepted = append(m.accepted, t.blob)
	}
}

// failed notes what a login was refused with. Once all that it would offer was
// refused, each is as good as any other.
func (m *keyMemory) failed(attempts []*authAttempt, offers []offer) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range attempts {
		if !t.refused() {
			continue
		}
		m.accepted = slices.DeleteFunc(m.accepted, func(blob string) bool { return blob == t.blob })
		if t.blob != "" {
			if m.refused == nil {
				m.refused = map[string]bool{}
			}
			m.refused[t.blob] = true
		}
	}
	if !slices.ContainsFunc(offers, func(o offer) bool { return !m.refused[o.blob] }) {
		m.refused = nil
	}
}
