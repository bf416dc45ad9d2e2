package pool

// testhooks.go is for the tests of package tunnel.

// Finish ends the pool, channels or not, unless somebody holds it.
func (p *Pool) Finish() { p.finish() }

// AtRest reports whether the pool has no connection and makes none, or is held.
func (p *Pool) AtRest() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held || len(p.members) == 0 && !p.running
}

// Waiting returns how many dials wait in line.
func (p *Pool) Waiting() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.queue.lines {
		n += len(l.waiting)
	}
	return n
}
