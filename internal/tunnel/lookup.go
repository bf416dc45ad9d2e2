package tunnel

import (
	"maps"
	"slices"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// lookup.go is about the names that the bastion looks up. sshd looks up one after the
// other, and serves nothing else on a connection meanwhile. A client that asks for
// names which the bastion's resolver does not answer for must hold up nobody else. So
// what a client chooses is looked up on connections apart. A name of the configuration
// that a connection has stalled over is looked up on others, until it is fast again.

// The classes of channels whose targets are looked up apart. They stand for the
// target's own class.
const (
	// lookupClass is for names that clients choose.
	lookupClass Class = 2
	// slowClass is for slow names of the configuration.
	slowClass Class = 3
)

// isApart reports whether connections of a role carry nothing but channels of lookupClass
// or slowClass. Option connections does not count them.
func (r role) isApart() bool { return r == forLookups || r == forSlowNames }

// classOf returns the class of connection that a request is for.
func (p *pool) classOf(r *openRequest) Class {
	if r.Name == "" {
		return r.target.Class
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case r.target.ByClient:
		return lookupClass
	case p.names.slow.has(r.Name):
		return slowClass
	default:
		return r.target.Class
	}
}

// mayLookUpApart reports whether there may be connections for lookups. With `connections
// 1` there are none before a connection has stalled. The caller holds mu.
func (p *pool) mayLookUpApart() bool { return p.set.MaxConnections > 1 || len(p.names.slow) > 0 }

// mayAddLookups reports whether there may be one more connection of a role for lookups:
// half as many as option connections permits, besides those. The caller holds mu.
func (p *pool) mayAddLookups(r role) bool {
	return p.mayLookUpApart() && len(withRole(p.present(), r)) < max(1, p.set.MaxConnections/2)
}

// placeLookup is place for lookups. It is false if a lookup has to share a connection
// with other channels. The caller holds mu.
func (p *pool) placeLookup(w *placement) (m *member, ok bool) {
	own := roleFor(w.line.class)
	w.waits = waitConnection
	if !p.mayLookUpApart() {
		active := p.active()
		return nil, len(active) > 0 && !slices.ContainsFunc(active, func(m *member) bool { return m.client.WaitingFor() < sshconn.DoubtAfter })
	}
	room := slices.DeleteFunc(withRole(p.serving(), own), func(m *member) bool {
		// One that may be about to stall gets no more: each lookup would make it longer.
		return slices.Contains(w.not, m) || m.channels >= m.limit || m.client.WaitingFor() >= sshconn.DoubtAfter
	})
	if len(room) > 0 {
		slices.SortStableFunc(room, func(a, b *member) int { return a.channels - b.channels })
		p.growth.lacks[own] = p.growth.lacks[own] || room[0].channels >= easyChannels
		return p.inTurn(w, room), true
	}
	p.growth.lacks[own] = true
	stalled := len(withRole(p.present(), own)) > 0
	if !stalled && (p.growth.state == growthFailed || len(p.active()) == 0 || !p.mayConnect()) {
		return nil, false // none can be had: better shared than not at all
	}
	return nil, true
}

// closeSpareLookups lets connections for lookups go that have had no channel for a
// while. The caller holds mu.
func (p *pool) closeSpareLookups(now time.Time) {
	for _, l := range p.serving() {
		if l.role.isApart() && l.channels == 0 && now.Sub(l.used) >= spareAfter {
			p.startDrain(l)
			p.growth.lacks[l.role] = false
		}
	}
}

// names are those that the bastion looks up. pool.mu guards them.
type names struct {
	// slow are those whose lookup a connection has stalled over.
	slow slowNames
	// fast are those that were looked up without delay.
	fast map[string]bool
}

// slowNames are names whose lookup a connection has stalled over, and when it did.
type slowNames map[string]time.Time

// slowFor is how long a name counts as slow, and maxSlowNames how many do.
const (
	slowFor      = 10 * time.Minute
	maxSlowNames = 1024
)

func (s *slowNames) add(name string, now time.Time) {
	maps.DeleteFunc(*s, func(_ string, at time.Time) bool { return now.Sub(at) >= slowFor })
	if *s == nil {
		*s = slowNames{}
	}
	if len(*s) < maxSlowNames {
		(*s)[name] = now
	}
}

func (s slowNames) has(name string) bool {
	at, ok := s[name]
	return ok && time.Since(at) < slowFor
}

// foundFast records that the bastion has looked a name up without delay.
func (p *pool) foundFast(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.names.slow, name)
	if p.names.fast == nil || len(p.names.fast) >= maxSlowNames {
		p.names.fast = map[string]bool{}
	}
	p.names.fast[name] = true
}

// blameName records that a connection has stalled over a name. One that was fast before may
// have been sent just beside the one that is slow: it is blamed the second time. The
// caller holds mu.
func (p *pool) blameName(name string, now time.Time) {
	if p.names.fast[name] {
		delete(p.names.fast, name)
		return
	}
	p.names.slow.add(name, now)
}
