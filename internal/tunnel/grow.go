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

// growth is what connections the tunnel lacks, and what it could do without. entry.mu
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
func (e *entry) present() []*link {
	links := make([]*link, 0, len(e.links))
	for _, l := range e.links {
		if !l.isDraining() && !l.client.IsDone() {
			links = append(links, l)
		}
	}
	return links
}

// serving returns the connections that take new channels, oldest first. The caller
// holds mu.
func (e *entry) serving() []*link {
	return slices.DeleteFunc(e.present(), (*link).isStalledNow)
}

// active returns those of the connections that take new channels which option
// connections counts: all but those for lookups. The caller holds mu.
func (e *entry) active() []*link {
	return slices.DeleteFunc(e.serving(), func(l *link) bool { return l.role.isApart() })
}

// mayAdd tells whether there may be one more connection. Stalled ones are not among
// those that option connections counts, but with them there are no more than twice as
// many. The caller holds mu.
func (e *entry) mayAdd() bool {
	counted := slices.DeleteFunc(e.present(), func(l *link) bool { return l.role.isApart() })
	return len(counted) < 2*e.set.MaxConnections
}

// activeLinks is active for callers that do not hold mu.
func (e *entry) activeLinks() []*link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.active()
}

// withRole returns those of the links that have a role.
func withRole(links []*link, r role) []*link {
	return slices.DeleteFunc(slices.Clone(links), func(l *link) bool { return l.role != r })
}

// wantedRole tells whether another connection is wanted, what for and why. The
// caller holds mu.
func (e *entry) wantedRole() (r role, why string) {
	active := e.active()
	requests, streams := withRole(active, forRequests), withRole(active, forStreams)
	n := len(active)
	switch {
	case n == 0 || !e.held:
		return undecided, ""
	case e.growth.lacks[forLookups] && e.mayAddLookups(forLookups):
		return forLookups, "names that clients choose"
	case e.growth.lacks[forSlowNames] && e.mayAddLookups(forSlowNames):
		return forSlowNames, "names that the bastion looks up slowly"
	case n < e.set.MinConnections && !e.unused.onDemand:
		if len(streams) > 0 {
			return forRequests, "connections: the least number"
		}
		return forStreams, "connections: the least number"
	case n >= e.set.MaxConnections || !e.mayAdd():
		return undecided, ""
	case e.growth.lacks[forRequests]:
		return forRequests, "requests beside streams"
	case len(requests) > 0 && !slices.ContainsFunc(requests, func(l *link) bool { return !l.isQuiet() }):
		return forRequests, "many quiet channels"
	case n < e.set.MaxConnections-1 && len(requests) > 0 && !slices.ContainsFunc(requests, func(l *link) bool { return l.channels < l.easy() }):
		// Not the last: they may turn out to be streams, and then there must be
		// one that is free of them; or there may be need for one for streams.
		return forRequests, "many requests"
	case len(streams) >= e.set.MaxConnections-1:
		return undecided, "" // one stays free of streams
	case e.growth.lacks[forStreams]:
		return forStreams, "streams beside requests"
	case len(streams) > 0 && !slices.ContainsFunc(streams, func(l *link) bool { return l.channels < l.easy() }):
		return forStreams, "many streams"
	default:
		return undecided, ""
	}
}

// assign gives a new connection the role that one is wanted for. The caller
// holds mu, and has not added it to the links.
func (e *entry) assign(l *link) (why string) {
	active := e.active()
	if len(active) == 0 {
		for _, o := range e.present() {
			if !o.role.isApart() {
				l.role, why = o.role, "the others are stalled"
			}
		}
		return why
	}
	if l.role, why = e.wantedRole(); l.role.isApart() {
		return why
	}
	if l.role == undecided { // what it was wanted for is over
		l.role = forStreams
		if len(withRole(active, forStreams)) > 0 {
			l.role = forRequests
		}
	}
	// The only one so far can be what this one is not.
	for _, other := range withRole(active, undecided) {
		other.role = forRequests + forStreams - l.role
	}
	if l.role == forRequests && len(withRole(active, forRequests)) == 0 {
		e.newGeneration() // the requests' channels are on those for streams
	}
	return why
}
