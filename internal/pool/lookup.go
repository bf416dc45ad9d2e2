package pool

import (
	"maps"
	"slices"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// lookup.go is about the names that the bastion looks up. sshd looks up one after the
// other, and serves nothing else on a connection meanwhile. A client that asks for
// names which the bastion's resolver does not answer for must hold up nobody else. So
// what a client chooses is looked up on connections apart, and so is, on others, a name
// of the configuration that a connection has stalled over. The two do not share: what
// clients ask for must not hold up a site either that was slow but once.

// isApart reports whether connections for a class carry nothing else. Option connections
// does not count them.
func (c Class) isApart() bool { return c == lookupClass || c == slowClass }

// classOf returns the class of connection that a request is for.
func (p *Pool) classOf(r *openRequest) Class {
	if r.Name == "" {
		return r.target.Class
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case r.target.ByClient:
		return lookupClass
	case p.slow.has(r.Name):
		return slowClass
	default:
		return r.target.Class
	}
}

// mayLookUpApart reports whether there may be connections for lookups. With `connections
// 1` there are none before a connection has stalled. The caller holds mu.
func (p *Pool) mayLookUpApart() bool { return p.set.MaxConnections > 1 || len(p.slow) > 0 }

// mayAddLookups reports whether there may be one more connection for a class of lookups:
// half as many as option connections permits, besides those. The caller holds mu.
func (p *Pool) mayAddLookups(class Class) bool {
	return p.mayLookUpApart() && len(carrying(p.present(), class)) < max(1, p.set.MaxConnections/2)
}

// placeLookup is place for lookups. It is false if a lookup has to share a connection
// with other channels. The caller holds mu.
func (p *Pool) placeLookup(w *placement) (m *member, ok bool) {
	class := w.line.class
	w.waits = waitConnection
	// One that may be about to stall gets no more: each lookup would make it longer.
	doubtful := func(m *member) bool { return m.client.WaitingFor() >= sshconn.DoubtAfter }
	if !p.mayLookUpApart() {
		active := p.active()
		return nil, len(active) > 0 && len(slices.DeleteFunc(active, doubtful)) == 0
	}
	own := carrying(p.serving(), class)
	room := slices.DeleteFunc(own, func(m *member) bool { return m == w.not || m.channels >= m.limit || doubtful(m) })
	slices.SortStableFunc(room, byChannels)
	if len(room) == 0 || room[0].channels >= easyChannels {
		p.want(class, map[Class]string{lookupClass: "names that clients choose", slowClass: "names that the bastion looks up slowly"}[class])
	}
	if len(room) > 0 {
		return p.inTurn(w, room), true
	}
	canGrow := p.growth.state != growthFailed && len(p.active()) > 0 && p.mayConnect()
	// If none can be had, better shared than not at all.
	return nil, canGrow || len(carrying(p.present(), class)) > 0
}

// slowNames are names whose lookup a connection has stalled over, and when it did.
type slowNames map[string]time.Time

// slowFor is how long a name counts as slow, unless it is looked up without delay, and
// maxSlowNames how many do.
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
