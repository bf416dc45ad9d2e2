// keymemory.go remembers what a bastion has accepted and refused: offered first,
// the right key costs none of its MaxAuthTries and looks like no attack.

package sshauth

import (
	"cmp"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// Memory is what one server has accepted and refused. Its zero value is empty; several
// Authenticators may share one. A nil *Memory remembers nothing.
type Memory struct {
	// mu guards the fields below.
	mu sync.Mutex
	// accepted is what the last login that succeeded was let in with: the blobs of
	// keys, and the methods.
	accepted []string
	// refused are the blobs of keys, and the methods, that were refused since.
	refused map[string]bool
}

// sort puts first what was accepted, and last what the bastion refused when it let
// nobody in: it may have ended the connection before it saw the others. id returns the
// blob of a key or the name of a method.
func sort[T any](m *Memory, list []T, id func(T) string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(m.rank(id(a)), m.rank(id(b))) })
}

// rank is where a key or a method comes. The caller holds mu.
func (m *Memory) rank(id string) int {
	switch {
	case slices.Contains(m.accepted, id):
		return 0
	case slices.ContainsFunc(m.accepted, func(accepted string) bool { return samePlainKey(accepted, id) }):
		return 1 // with a new certificate, say
	case !m.refused[id]:
		return 2
	default:
		return 3
	}
}

// samePlainKey reports whether two blobs are of one key, or of certificates for it.
func samePlainKey(a, b string) bool {
	one, err := ssh.ParsePublicKey([]byte(a))
	other, otherErr := ssh.ParsePublicKey([]byte(b))
	return err == nil && otherErr == nil && algorithms.SameKey(algorithms.PlainKey(one), algorithms.PlainKey(other))
}

// succeeded notes what a login was let in with.
func (m *Memory) succeeded(attempts []*attempt) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accepted, m.refused = nil, nil
	for _, t := range attempts {
		m.accepted = append(m.accepted, t.method, t.blob)
	}
}

// failed notes what a login was refused with, and a dialogue that it could not go on
// with. Once all keys that it would offer were refused, each is as good as any other.
func (m *Memory) failed(attempts []*attempt, offers []offer) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range attempts {
		abandoned := t.method == methodDialogue && t.err != nil
		if !t.refused() && !abandoned {
			continue
		}
		tried := cmp.Or(t.blob, t.method)
		m.accepted = slices.DeleteFunc(m.accepted, func(id string) bool { return id == tried })
		if m.refused == nil {
			m.refused = map[string]bool{}
		}
		m.refused[tried] = true
		if abandoned {
			break // the server may have taken what came next for an answer
		}
	}
	if len(offers) > 0 && !slices.ContainsFunc(offers, func(o offer) bool { return !m.refused[o.blob] }) {
		m.refused = nil
	}
}
