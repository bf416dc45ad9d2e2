package pool

import "slices"

// growthState is how the tunnel stands with getting one more connection.
type growthState int

const (
	// growthPossible: channels that lack a connection of their own wait for one.
	growthPossible growthState = iota
	// growthFailed: the last attempt to get one more has failed. They share what there
	// is until one succeeds.
	growthFailed
)

// growth is what connections the tunnel lacks. Pool.mu guards it.
type growth struct {
	state growthState
	// lack is why another connection is wanted for a class, or "". Channels that find
	// none that suits them set it.
	lack [classes]string
}

// attempted records an attempt that has failed, and whether it was for one more.
func (g *growth) attempted(oneMore bool) {
	clear(g.lack[:])
	if oneMore {
		g.state = growthFailed
	}
}

// grown records a new connection.
func (g *growth) grown() { *g = growth{state: growthPossible} }

// present returns the connections that take new channels, or will once they are no
// longer stalled, oldest first. The caller holds mu.
func (p *Pool) present() []*member {
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
func (p *Pool) serving() []*member {
	return slices.DeleteFunc(p.present(), (*member).isStalledNow)
}

// active returns those of the connections that take new channels which option
// connections counts: all but those for lookups. The caller holds mu.
func (p *Pool) active() []*member {
	return slices.DeleteFunc(p.serving(), func(m *member) bool { return m.carries.isApart() })
}

// activeMembers is active for callers that do not hold mu.
func (p *Pool) activeMembers() []*member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active()
}

// mayAdd reports whether there may be one more connection. Stalled ones are not among
// those that option connections counts, but with them there are no more than twice as
// many. The caller holds mu.
func (p *Pool) mayAdd() bool {
	counted := slices.DeleteFunc(p.present(), func(m *member) bool { return m.carries.isApart() })
	return len(counted) < 2*p.set.MaxConnections
}

// lacks records that none of the connections with room suits a channel of a class. It
// reports whether the channel may wait for another one. The caller holds mu.
func (p *Pool) lacks(class Class, room []*member, w *placement) bool {
	n := len(p.active())
	why := [...]string{Request: "requests beside streams", Stream: "streams beside requests"}[class]
	many := slices.ContainsFunc(room, func(m *member) bool { return m.carries == class && !m.shed })
	if many {
		why = [...]string{Request: "many requests", Stream: "many streams"}[class]
	}
	switch {
	case w.not != nil && !w.known, n >= p.set.MaxConnections, class == Stream && !p.mayCarryStreams():
		return false
	case class == Request && many && n == p.set.MaxConnections-1:
		// Not the last: they may turn out to be streams, and then there must be
		// one that is free of them; or there may be need for one for streams.
		return false
	}
	p.want(class, why)
	return p.mayConnect() && p.growth.state != growthFailed
}

// want asks for another connection for a class. The caller holds mu.
func (p *Pool) want(class Class, why string) {
	if p.growth.lack[class] == "" {
		p.growth.lack[class] = why
		p.wake()
	}
}

// wantedClass reports whether another connection is wanted besides those that there are, for
// a class apart or for any, and why. The caller holds mu.
func (p *Pool) wantedClass() (class Class, why string) {
	n := len(p.active())
	if n == 0 || !p.held {
		return anyClass, ""
	}
	for _, class := range []Class{lookupClass, slowClass} {
		if why := p.growth.lack[class]; why != "" && p.mayAddLookups(class) {
			return class, why
		}
	}
	switch lack := p.growth.lack; {
	case n < p.set.MinConnections && !p.history.unused.onDemand:
		return anyClass, "connections: the least number"
	case n >= p.set.MaxConnections || !p.mayAdd():
		return anyClass, ""
	case lack[Request] != "":
		return anyClass, lack[Request]
	case p.mayCarryStreams():
		return anyClass, lack[Stream]
	default:
		return anyClass, ""
	}
}

// assign decides whether a new connection is apart. The caller holds mu, and has not
// added it to the connections.
func (p *Pool) assign(m *member) (why string) {
	active := p.active()
	if len(active) == 0 {
		return "the others are stalled, or for names"
	}
	m.carries, why = p.wantedClass()
	if !m.carries.isApart() && len(p.suited(active, Request)) == 0 {
		p.newGeneration() // the requests' channels are beside streams, or quiet ones
	}
	return why
}
