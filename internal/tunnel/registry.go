package tunnel

import (
	"sync"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/pool"
)

// pools are the tunnels of this process: reloads find them here.
var pools = &registry{pools: map[string]*shared{}}

// registry holds pools by key for as long as they live: while a handle holds
// them, and after that while they have channels, and a little longer.
type registry struct {
	// mu guards pools and the refs of each. It is taken before a pool's lock.
	mu    sync.Mutex
	pools map[string]*shared
}

// shared is a pool that handles share.
type shared struct {
	*pool.Pool
	key, name string
	// jump is our own handle on the tunnel jumped through, or nil.
	jump *Handle
	// refs counts those who hold it. registry.mu guards it.
	refs int
}

// acquire takes a hold on the handle's pool, which is made if there is none.
func (r *registry) acquire(h *Handle) *shared {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acquireLocked(h)
}

// acquireLocked is acquire for callers that hold mu.
func (r *registry) acquireLocked(h *Handle) *shared {
	s := r.pools[h.key]
	if s == nil {
		s = &shared{key: h.key, name: h.cfg.Name}
		if h.jump != nil {
			s.jump = h.jump.forJump()
			s.jump.pool = r.acquireLocked(s.jump)
		}
		s.Pool = pool.New(h.cfg, h.set, s.jump.asJump(), s)
		r.pools[h.key] = s
	}
	s.refs++
	if s.refs == 1 {
		s.Hold()
	}
	return s
}

// release gives a hold back.
func (r *registry) release(s *shared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.refs--
	if s.refs == 0 {
		s.Release()
	}
}

// named returns the pools of a tunnel's name.
func (r *registry) named(name string) (found []*shared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.pools {
		if s.name == name {
			found = append(found, s)
		}
	}
	return found
}

// Forget implements pool.Owner.
func (s *shared) Forget(mayEnd func() bool) bool {
	pools.mu.Lock()
	defer pools.mu.Unlock()
	if s.refs > 0 || !mayEnd() {
		return false
	}
	if pools.pools[s.key] == s {
		delete(pools.pools, s.key)
	}
	return true
}

// Ended implements pool.Owner.
func (s *shared) Ended() {
	if s.jump != nil {
		s.jump.Close()
	}
}

var _ pool.Owner = (*shared)(nil)
