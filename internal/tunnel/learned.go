// learned.go accepts the first host key that a bastion shows, and from then on
// no other: "strict_host_key_checking accept-new".

package tunnel

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

// KeyMemory remembers the host keys that were accepted because they were the
// first. It outlives the process, and several processes may share it. Its
// methods do I/O, return when their context ends, and may be called at the same
// time.
type KeyMemory interface {
	// Recall returns the key that was learned for a route, or nil if none was.
	Recall(ctx context.Context, route Route) (*LearnedKey, error)

	// Learn remembers a key for a route where none is, and returns the one that
	// is remembered then. That is another one if somebody else came first.
	Learn(ctx context.Context, route Route, key ssh.PublicKey) (*LearnedKey, error)
}

// LearnedKey is what a KeyMemory remembers of a route.
type LearnedKey struct {
	Key     ssh.PublicKey
	Learned time.Time

	// Forget is what a person types to have the key forgotten.
	Forget string
}

// source is how errors say where the key is from.
func (k *LearnedKey) source() string {
	return "learned at " + k.Learned.UTC().Format(time.RFC3339)
}

// Route is a bastion as it is reached: behind other jumps the same name may be
// another machine's.
type Route struct {
	// Name is the bastion's as known_hosts files have it: "host", "[host]:port",
	// or its HostKeyAlias.
	Name string

	// Via are the names of the bastions to jump through, the first to dial
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

// KnownName returns the name that the Route of a bastion at "host:port" has.
func KnownName(address, hostKeyAlias string) string {
	return lookupNames(address, hostKeyAlias).name
}

// route returns that of a bastion of the entry's.
func (e *entry) route(cfg *Config) Route {
	r := Route{Name: KnownName(cfg.Address, cfg.HostKeyAlias)}
	for j := e.jump; j != nil; j = j.jump {
		r.Via = append(r.Via, KnownName(j.cfg.Address, j.cfg.HostKeyAlias))
	}
	slices.Reverse(r.Via)
	return r
}

// memory returns where the entry's host key is remembered, or nil.
func (e *entry) memory() KeyMemory {
	if !e.cfg.AcceptNewHostKey {
		return nil
	}
	return e.settings().KeyMemory
}

// hostKeys returns all that is known about the host key of a bastion of the
// entry's, read anew.
func (e *entry) hostKeys(cfg *Config, log *zap.Logger) (*hostKeys, error) {
	h, err := loadHostKeys(cfg, log)
	if err != nil {
		class := failure.ClassRefused
		if failure.Scarce(err) {
			class = failure.ClassNetwork
		}
		return nil, failure.New(class, failure.CauseConfiguration, err)
	}
	if err := h.noAlgorithms(); err != nil {
		return nil, failure.New(failure.ClassRefused, failure.CauseConfiguration, err)
	}
	if memory := e.memory(); memory != nil {
		ctx, cancel := context.WithTimeout(e.ctx, e.settings().ConnectTimeout)
		defer cancel()
		if err := h.recall(ctx, memory, e.route(cfg)); err != nil {
			return nil, failure.New(failure.ClassProtocol, failure.CauseConfiguration, err)
		}
	}
	return h, nil
}

// recall has the first key accepted that is seen, or that was seen then. Where
// anything is configured about the bastion, that alone counts.
func (h *hostKeys) recall(ctx context.Context, memory KeyMemory, route Route) error {
	if h.knowsAnything() {
		return nil
	}
	learned, err := memory.Recall(ctx, route)
	if err != nil {
		return fmt.Errorf("looking up the learned host key of %q: %w", h.cfg.Address, err)
	}
	h.memory, h.route = memory, route
	if learned != nil {
		h.remember(learned)
	}
	return nil
}

// remember makes a learned key the only one that is known.
func (h *hostKeys) remember(learned *LearnedKey) {
	h.learned = learned
	h.known.keys = []knownKey{{learned.Key, learned.source()}}
}

// errNotLearned is that a key is the first of a bastion that nothing is known about.
var errNotLearned = errors.New("no host key is known")

// learn accepts a key that is the first, of a bastion that nothing else is
// known about. The bastion has proved by now that the key is its own, but we
// have not sent anything to it yet that is secret.
func (h *hostKeys) learn(ctx context.Context, key ssh.PublicKey) error {
	if h.unread != nil {
		return h.refuse(key, failure.CauseHostKeyUnknown, "host key of %q is unknown: offered %s; it is not learned, since %v",
			h.cfg.Address, describeHostKey(key), h.unread)
	}
	learned, err := h.memory.Learn(ctx, h.route, algorithms.PlainKey(key))
	if err != nil {
		return failure.New(failure.ClassProtocol, failure.CauseConfiguration, fmt.Errorf("remembering the host key of %q: %w", h.cfg.Address, err))
	}
	if err := h.accept(learned, key); err != nil {
		return err
	}
	h.log.Warn("learned the host key of a bastion that nothing was known about; no other is accepted from now on",
		zap.String("host_key", describeHostKey(key)), zap.Strings("via", h.route.Via))
	return nil
}

// accept makes a learned key the only one that is known, and accepts a key if it is
// that.
func (h *hostKeys) accept(learned *LearnedKey, key ssh.PublicKey) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remember(learned)
	if !algorithms.SameKey(learned.Key, algorithms.PlainKey(key)) {
		return h.mismatch(key) // somebody else has just learned another one
	}
	h.pinned = key
	return nil
}
