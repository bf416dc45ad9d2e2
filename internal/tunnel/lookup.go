package tunnel

import (
	"slices"
	"sync"
	"time"
)

// lookups are the opens of a link that the bastion looks a name up for, in the order
// in which they were sent: sshd looks up one after the other.
type lookups struct {
	// mu guards the fields below.
	mu      sync.Mutex
	pending []pendingLookup
	// culprit is the open that the link stalled over, or nil.
	culprit *opening
}

// pendingLookup is an open that is not answered.
type pendingLookup struct {
	open *opening
	name string
	sent time.Duration // on the wire's clock
}

// begin records that an open is sent. Without a name there is nothing to look up.
func (p *lookups) begin(o *opening, name string, now time.Duration) {
	if name == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = append(p.pending, pendingLookup{o, name, now})
}

// end records that an open is answered.
func (p *lookups) end(o *opening) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = slices.DeleteFunc(p.pending, func(l pendingLookup) bool { return l.open == o })
}

// blame finds out which open the link has stalled over, given when the bastion last
// had time for others, and returns its name, or "": the first that was sent since, or
// else the oldest.
func (p *lookups) blame(lastFree time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.culprit = nil
	if len(p.pending) == 0 {
		return ""
	}
	i := max(0, slices.IndexFunc(p.pending, func(l pendingLookup) bool { return l.sent >= lastFree }))
	p.culprit = p.pending[i].open
	return p.pending[i].name
}

// isCulprit tells whether the link has stalled over an open.
func (p *lookups) isCulprit(o *opening) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.culprit == o
}
