package tunnel

import (
	"slices"
	"time"
)

// growthState is how the tunnel stands with getting one more connection.
type growthState int

const (
	// growthPossible: channels that lack a connection of their own wait for one.
	growthPossible growthState = iota
	// growthFailed: the last attempt to get one more has failed. They share what there
	// is until one succeeds.
	growthFailed
)

// growth is what connections the tunnel lacks, and what it could do without. pool.mu
// guards it.
type growth struct {
	state growthState
	// lacks tells, by role, that a channel has found no connection of its own with
	// room.
	lacks [roles]bool
	// spareSince is since when there have been more connections for requests than are
	// needed.
	spareSince time.Time
}

// attempted records an attempt that has failed, and whether it was for one more.
func (g *growth) attempted(oneMore bool) {
	clear(g.lacks[:])
	if oneMore {
		g.state = growthFailed
	}
}

// grown records a new connection.
func (g *growth) grown() {
	clear(g.lacks[:])
	g.state = growthPossible
}

// present returns the connections that take new channels, or will once they are no
// longer stalled, oldest first. The caller holds mu.
func (p *pool) present() []*member {
	links := make([]*member, 0, len(p.members))
	for _, l := range p.members {
		if !l.isDraining() && !l.client.IsDone() {
			links = append(links, l)
		}
	}
	return links
}

// serving returns the connections that take new channels, oldest first. The caller
// holds mu.
func (p *pool) serving() []*member {
	return slices.DeleteFunc(p.present(), (*member).isStalledNow)
}

// active returns those of the connections that take new channels which option
// connections counts: all but those for lookups. The caller holds mu.
func (p *pool) active() []*member {
	return slices.DeleteFunc(p.serving(), func(m *member) bool { return m.role.isApart() })
}

// mayAdd reports whether there may be one more connection. Stalled ones are not among
// those that option connections counts, but with them there are no more than twice as
// many. The caller holds mu.
func (p *pool) mayAdd() bool {
	counted := slices.DeleteFunc(p.present(), func(m *member) bool { return m.role.isApart() })
	return len(counted) < 2*p.set.MaxConnections
}

// activeLinks is active for callers that do not hold mu.
func (p *pool) activeMembers() []*member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active()
}

// withRole returns those of the connections that have a role.
func withRole(links []*member, r role) []*member {
	return slices.DeleteFunc(slices.Clone(links), func(m *member) bool { return m.role != r })
}

// wantedRole reports whether another connection is wanted, what for and why. The
// caller holds mu.
func (p *pool) wantedRole() (r role, why string) {
	active := p.active()
	requests, streams := withRole(active, forRequests), withRole(active, forStreams)
	n := len(active)
	switch {
	case n == 0 || !p.held:
		return undecided, ""
	case p.growth.lacks[forLookups] && p.mayAddLookups(forLookups):
		return forLookups, "names that clients choose"
	case p.growth.lacks[forSlowNames] && p.mayAddLookups(forSlowNames):
		return forSlowNames, "names that the bastion looks up slowly"
	case n < p.set.MinConnections && !p.history.unused.onDemand:
		if len(streams) > 0 {
			return forRequests, "connections: the least number"
		}
		return forStreams, "connections: the least number"
	case n >= p.set.MaxConnections || !p.mayAdd():
		return undecided, ""
	case p.growth.lacks[forRequests]:
		return forRequests, "requests beside streams"
	case len(requests) > 0 && !slices.ContainsFunc(requests, func(m *member) bool { return !m.isQuiet() }):
		return forRequests, "many quiet channels"
	case n < p.set.MaxConnections-1 && len(requests) > 0 && !slices.ContainsFunc(requests, func(m *member) bool { return m.channels < m.easy() }):
		// Not the last: they may turn out to be streams, and then there must be
		// one that is free of them; or there may be need for one for streams.
		return forRequests, "many requests"
	case len(streams) >= p.set.MaxConnections-1:
		return undecided, "" // one stays free of streams
	case p.growth.lacks[forStreams]:
		return forStreams, "streams beside requests"
	case len(streams) > 0 && !slices.ContainsFunc(streams, func(m *member) bool { return m.channels < m.easy() }):
		return forStreams, "many streams"
	default:
		return undecided, ""
	}
}

// assign gives a new connection the role that one is wanted for. The caller
// holds mu, and has not added it to the connections.
func (p *pool) assign(m *member) (why string) {
	active := p.active()
	if len(active) == 0 {
		for _, o := range p.present() {
			if !o.role.isApart() {
				m.role, why = o.role, "the others are stalled"
			}
		}
		return why
	}
	if m.role, why = p.wantedRole(); m.role.isApart() {
		return why
	}
	if m.role == undecided { // what it was wanted for is over
		m.role = forStreams
		if len(withRole(active, forStreams)) > 0 {
			m.role = forRequests
		}
	}
	// The only one so far can be what this one is not.
	for _, other := range withRole(active, undecided) {
		other.role = forRequests + forStreams - m.role
	}
	if m.role == forRequests && len(withRole(active, forRequests)) == 0 {
		p.newGeneration() // the requests' channels are on those for streams
	}
	return why
}
