// learned.go accepts the first host key that a server shows, and from then on
// no other, except those that update.go adds: "strict_host_key_checking accept-new".

package hostkey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// Memory remembers the host keys that were accepted at first sight. It outlives the
// process, and several processes may share it. Its methods do I/O, return when their
// context ends, and may be called at the same time.
type Memory interface {
	// Recall returns the keys that were learned for a route, or nil if none were.
	Recall(ctx context.Context, route Route) (*LearnedKeys, error)

	// Learn remembers a key for a route where none is, and returns what is
	// remembered then. That is another key if somebody else came first.
	Learn(ctx context.Context, route Route, key ssh.PublicKey) (*LearnedKeys, error)

	// Update changes the keys that are remembered for a route, and returns what has
	// changed. Nothing does if change.Trusted is not remembered any more.
	Update(ctx context.Context, route Route, change Change) (changed Change, err error)
}

// Change says which keys to remember and to forget.
type Change struct {
	// Trusted is a key that is remembered, and stays.
	Trusted ssh.PublicKey
	// Add and Remove are the other keys.
	Add, Remove []ssh.PublicKey
}

// LearnedKeys is what a Memory remembers of a route.
type LearnedKeys struct {
	// Keys are any of which the server may have, the first learned first. There is at
	// least one.
	Keys []LearnedKey

	// Forget is the command that makes the Memory forget the keys.
	Forget string
}

// LearnedKey is one of LearnedKeys.
type LearnedKey struct {
	Key     ssh.PublicKey
	Learned time.Time
}

// source is how errors say where the key is from.
func (k *LearnedKey) source() string {
	return "learned at " + k.Learned.UTC().Format(time.RFC3339)
}

// Has reports whether a key is one of them.
func (l *LearnedKeys) Has(key ssh.PublicKey) bool {
	return slices.ContainsFunc(l.Keys, func(k LearnedKey) bool { return algorithms.SameKey(k.Key, key) })
}

// Route is a server as it is reached: behind other jumps the same name may be
// another machine's.
type Route struct {
	// Name is the server's as known_hosts files have it: "host", "[host]:port",
	// or its HostKeyAlias.
	Name string

	// Via are the names of the servers to jump through, the first to dial
	// first.
	Via []string
}

// String returns the route as in `b.example via a.example, [c.example]:2222`.
func (r Route) String() string {
	if len(r.Via) == 0 {
		return r.Name
	}
	return r.Name + " via " + strings.Join(r.Via, ", ")
}

// recall accepts the first key that the server shows, or those that were learned before.
// If anything is configured about the server, that alone counts.
func (v *Verifier) recall(ctx context.Context) error {
	if v.knowsAnything() {
		return nil
	}
	memory, route := v.cfg.Memory, v.cfg.Route()
	learned, err := memory.Recall(ctx, route)
	if err != nil {
		return fmt.Errorf("looking up the learned host key of %q: %w", v.cfg.Address, err)
	}
	v.memory, v.route = memory, route
	if learned != nil {
		v.recalled = true
		v.remember(learned)
	}
	return nil
}

// remember makes learned keys the only ones that are known.
func (v *Verifier) remember(learned *LearnedKeys) {
	v.learned = learned
	v.known.keys = nil
	for _, k := range learned.Keys {
		v.known.keys = append(v.known.keys, knownKey{k.Key, k.source()})
	}
}

// errNotLearned is that a key is the first of a server that nothing is known about.
var errNotLearned = errors.New("no host key is known")

// learn accepts a key that is the first, of a server that nothing else is
// known about. The server has proved by now that the key is its own, but we
// have not sent anything to it yet that is secret.
func (v *Verifier) learn(ctx context.Context, key ssh.PublicKey) error {
	if v.unread != nil {
		return v.refuse(key, failure.CauseHostKeyUnknown, "host key of %q is unknown: offered %s; it is not learned, since %v",
			v.cfg.Address, describeHostKey(key), v.unread)
	}
	learned, err := v.memory.Learn(ctx, v.route, algorithms.PlainKey(key))
	if err != nil {
		return failure.New(failure.ClassProtocol, failure.CauseConfiguration, fmt.Errorf("remembering the host key of %q: %w", v.cfg.Address, err))
	}
	if err := v.accept(learned, key); err != nil {
		return err
	}
	v.log.Warn("learned the host key of a bastion that nothing was known about; no other is accepted from now on, unless the bastion announces it",
		zap.String("host_key", describeHostKey(key)), zap.Strings("via", v.route.Via))
	return nil
}

// accept makes learned keys the only ones that are known, and accepts a key if it is
// one of them.
func (v *Verifier) accept(learned *LearnedKeys, key ssh.PublicKey) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remember(learned)
	if !learned.Has(algorithms.PlainKey(key)) {
		return v.mismatch(key) // somebody else has just learned another one
	}
	v.pinned = key
	return nil
}
