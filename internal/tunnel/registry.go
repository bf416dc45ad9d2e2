package tunnel

import "sync"

// pools are the tunnels of this process: reloads find them here.
var pools = &registry{pools: map[string]*pool{}}

// registry holds pools by key for as long as they live: while a handle holds
// them, and after that while they have channels, and a little longer.
type registry struct {
	// mu guards pools and the refs of each. It is taken before a pool's mu.
	mu    sync.Mutex
	pools map[string]*pool
}

// acquire takes a hold on the handle's pool, which is made if there is none.
func (r *registry) acquire(h *Handle) *pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acquireLocked(h)
}

// acquireLocked is acquire for callers that hold mu.
func (r *registry) acquireLocked(h *Handle) *pool {
	p := r.pools[h.key]
	if p == nil {
		var jump *Handle
		if h.jump != nil {
			jump = h.jump.forJump()
			jump.pool = r.acquireLocked(jump)
		}
		p = newPool(h, jump)
		r.pools[h.key] = p
	}
	p.refs++
	if p.refs == 1 {
		p.revive()
	}
	return p
}

// release gives a hold back.
func (r *registry) release(p *pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.refs--
	if p.refs == 0 {
		p.retire()
	}
}

// named returns the pools of a tunnel's name.
func (r *registry) named(name string) (found []*pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pools {
		if p.cfg.Name == name {
			found = append(found, p)
		}
	}
	return found
}

// remove forgets a pool that nobody holds and that may end, and reports whether
// it did: then the pool must end, for nobody can come by it any more.
func (r *registry) remove(p *pool, mayEnd func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.refs > 0 || !mayEnd() {
		return false
	}
	if r.pools[p.key] == p {
		delete(r.pools, p.key)
	}
	return true
}
