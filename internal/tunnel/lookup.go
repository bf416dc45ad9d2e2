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

// isApart tells whether connections of a role carry nothing but channels of lookupClass
// or slowClass. Option connections does not count them.
func (r role) isApart() bool { return r == forLookups || r == forSlowNames }

// classOf returns the class of connection that a request is for.
func (e *entry) classOf(r *openRequest) Class {
	if r.Name == "" {
		return r.target.Class
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case r.target.ByClient:
		return lookupClass
	case e.slowNames.has(r.Name):
		return slowClass
	default:
		return r.target.Class
	}
}

// mayLookUpApart tells whether there may be connections for lookups. With `connections
// 1` there are none before a connection has stalled. The caller holds mu.
func (e *entry) mayLookUpApart() bool { return e.set.MaxConnections > 1 || len(e.slowNames) > 0 }

// mayAddLookups tells whether there may be one more connection of a role for lookups:
// half as many as option connections permits, besides those. The caller holds mu.
func (e *entry) mayAddLookups(r role) bool {
	return e.mayLookUpApart() && len(withRole(e.present(), r)) < max(1, e.set.MaxConnections/2)
}

// placeLookup is place for lookups. It is false if a lookup has to share a connection
// with other channels. The caller holds mu.
func (e *entry) placeLookup(w *wish) (l *link, ok bool) {
	own := roleFor(w.line.class)
	w.waits = waitConnection
	if !e.mayLookUpApart() {
		active := e.active()
		return nil, len(active) > 0 && !slices.ContainsFunc(active, func(l *link) bool { return l.client.WaitingFor() < sshconn.DoubtAfter })
	}
	room := slices.DeleteFunc(withRole(e.serving(), own), func(l *link) bool {
		// One that may be about to stall gets no more: each lookup would make it longer.
		return slices.Contains(w.not, l) || l.channels >= l.limit || l.client.WaitingFor() >= sshconn.DoubtAfter
	})
	if len(room) > 0 {
		slices.SortStableFunc(room, func(a, b *link) int { return a.channels - b.channels })
		e.growth.lacks[own] = e.growth.lacks[own] || room[0].channels >= easyChannels
		return e.inTurn(w, room), true
	}
	e.growth.lacks[own] = true
	stalled := len(withRole(e.present(), own)) > 0
	if !stalled && (e.growth.state == growthFailed || len(e.active()) == 0 || !e.mayConnect()) {
		return nil, false // none can be had: better shared than not at all
	}
	return nil, true
}

// closeSpareLookups lets connections for lookups go that have had no channel for a
// while. The caller holds mu.
func (e *entry) closeSpareLookups(now time.Time) {
	for _, l := range e.serving() {
		if l.role.isApart() && l.channels == 0 && now.Sub(l.used) >= spareAfter {
			e.startDrain(l)
			e.growth.lacks[l.role] = false
		}
	}
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
func (e *entry) foundFast(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.slowNames, name)
	if e.fastNames == nil || len(e.fastNames) >= maxSlowNames {
		e.fastNames = map[string]bool{}
	}
	e.fastNames[name] = true
}

// blameName records that a link has stalled over a name. One that was fast before may
// have been sent just beside the one that is slow: it is blamed the second time. The
// caller holds mu.
func (e *entry) blameName(name string, now time.Time) {
	if e.fastNames[name] {
		delete(e.fastNames, name)
		return
	}
	e.slowNames.add(name, now)
}
