package tunnel

import "sync"

// entries are the tunnels of this process: reloads find them here.
var entries = &registry{entries: map[string]*entry{}}

// registry holds entries by key for as long as they live: while a handle holds
// them, and after that while they have channels, and a little longer.
type registry struct {
	// mu guards entries and the refs of each. It is taken before an entry's mu.
	mu      sync.Mutex
	entries map[string]*entry
}

// acquire takes a hold on the handle's entry, which is made if there is none.
func (r *registry) acquire(h *Handle) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acquireLocked(h)
}

// acquireLocked is acquire for callers that hold mu.
func (r *registry) acquireLocked(h *Handle) *entry {
	e := r.entries[h.key]
	if e == nil {
		var jump *Handle
		if h.jump != nil {
			jump = h.jump.forJump()
			jump.entry = r.acquireLocked(jump)
		}
		e = newEntry(h, jump)
		r.entries[h.key] = e
	}
	e.refs++
	if e.refs == 1 {
		e.revive()
	}
	return e
}

// release gives a hold back.
func (r *registry) release(p *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.refs--
	if p.refs == 0 {
		p.retire()
	}
}

// named returns the entries of a tunnel's name.
func (r *registry) named(name string) (found []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.entries {
		if p.cfg.Name == name {
			found = append(found, p)
		}
	}
	return found
}

// remove forgets an entry that nobody holds and that may end, and tells whether
// it did: then the entry must end, for nobody can come by it any more.
func (r *registry) remove(p *entry, mayEnd func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.refs > 0 || !mayEnd() {
		return false
	}
	if r.entries[p.key] == p {
		delete(r.entries, p.key)
	}
	return true
}
