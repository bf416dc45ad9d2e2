package tunnel

import (
	"slices"
	"time"
)

const (
	// quietAfter is how long a channel without bytes is not called quiet.
	quietAfter = 10 * time.Second
	// quietLimit is how many quiet channels make a connection too slow for
	// requests: with 64 there is about 0.8 left of what it can do, with 256
	// half.
	quietLimit = 64
	// shedTime is how long pools have to let go of idle channels.
	shedTime = 2 * time.Second
	// spareAfter is how long a connection above the least number has had
	// nothing to do before it is closed.
	spareAfter = time.Minute
)

// activity is what is known of a channel's traffic.
type activity struct {
	// bytes had gone through when it was last looked at, and had at since.
	bytes int64
	since time.Time
	// stuck says that the channel counts among the connection's stuck ones.
	stuck bool
}

// tend counts a connection's quiet channels, and sees what follows from it.
func (p *pool) updateLoad(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	m.quiet = 0
	for c, a := range m.conns {
		read, written := c.Stats()
		if n := read + written; n != a.bytes {
			a.bytes, a.since = n, now
		}
		if now.Sub(a.since) >= quietAfter {
			m.quiet++
		}
		if !a.stuck && c.IsStuck() {
			a.stuck = true
			m.stuck++
		}
	}
	if m.channels == 0 {
		p.history.unused.lives(now.Sub(m.used))
	}
	p.closeIfDrained(m)
	p.lingerIfIdle()
	if m.limit < maxChannels && now.Sub(m.cappedAt) >= cappedFor {
		p.uncap(m)
	}
	p.shedIdle(m, now)
	p.shedForQueue(now)
	p.rebalance()
	p.drainSurplus()
	p.closeSpare(now)
	p.wake()
}

// shedIdle asks pools of channels to let go of what lies idle on a connection with many
// quiet channels, before anything else is done about them: after a burst of
// requests that may be all of them. The caller holds mu.
func (p *pool) shedIdle(m *member, now time.Time) {
	switch {
	case m.role != forRequests || m.quiet <= quietLimit:
		m.shedAt = time.Time{}
	case m.shedAt.IsZero():
		m.shedAt = now
		p.newGeneration()
	}
	m.shed = !m.shedAt.IsZero() && now.Sub(m.shedAt) >= shedTime
}

// isQuiet reports whether the connection has more quiet channels than requests get on
// with, which are not those of pools. The caller holds pool.mu.
func (m *member) isQuiet() bool { return m.quiet > quietLimit && m.shed }

// rebalance lets another connection take the requests of one that has too many
// quiet channels: server-sent events, long polls and the like show only after
// they were opened as requests. The caller holds mu.
func (p *pool) rebalance() {
	active := p.active()
	requests, streams := withRole(active, forRequests), withRole(active, forStreams)
	for _, l := range requests {
		if !l.isQuiet() || p.set.MaxConnections == 1 {
			continue
		}
		calmer := func(o *member) bool { return o != l && o.quiet <= l.quiet/2 }
		if slices.ContainsFunc(requests, calmer) {
			p.setAside(l)
			return // one at a time
		}
		// There can be no more, or one is hardly used, as after a burst of
		// requests whose channels now lie idle in pools: the two change places.
		others := slices.DeleteFunc(streams, func(o *member) bool {
			return !calmer(o) || len(active) < p.set.MaxConnections && o.channels >= fewChannels
		})
		if len(others) > 0 {
			slices.MinFunc(others, func(a, b *member) int { return a.quiet - b.quiet }).role = forRequests
			p.setAside(l)
			return
		}
	}
}

// setAside makes a connection for requests one for streams. The caller holds
// mu.
func (p *pool) setAside(m *member) {
	m.role = forStreams
	p.newGeneration()
	p.broadcast()
}

// lend gives the connections of a role one of those of the other that has fewer
// channels than most, if there are as many as there may be and one stays. It
// returns nil if there is none. The caller holds mu.
func (p *pool) lend(to role, most int) *member {
	active := p.active()
	from := withRole(active, forRequests+forStreams-to)
	if len(active) < p.set.MaxConnections || len(from) < 2 {
		return nil
	}
	l := slices.MinFunc(from, func(a, b *member) int { return a.channels - b.channels })
	switch {
	case l.channels >= min(most, l.limit):
		return nil
	case to == forStreams:
		p.setAside(l)
	default:
		l.role = to
	}
	return l
}

// drainSurplus lets connections end with their channels that are more than the
// settings allow for, which may have changed. The caller holds mu.
func (p *pool) drainSurplus() {
	for {
		active := p.active()
		requests, streams := withRole(active, forRequests), withRole(active, forStreams)
		switch {
		case len(streams) > max(1, p.set.MaxConnections-1): // one stays free of streams
			active = streams
		case len(active) <= p.set.MaxConnections:
			return
		case len(requests) > 1:
			active = requests
		}
		p.startDrain(slices.MinFunc(active, func(a, b *member) int { return a.channels - b.channels }))
		p.newGeneration()
		p.broadcast() // for what the bastion listens on
	}
}

// closeSpare lets a connection go that is not needed, of those above the least
// number: one without channels. It frees one of several for requests of its
// pooled channels if they are few. The caller holds mu.
func (p *pool) closeSpare(now time.Time) {
	p.closeSpareLookups(now)
	active := p.active()
	if len(active) <= max(1, p.set.MinConnections) {
		p.growth.spareSince = time.Time{}
		return
	}
	var spare *member
	for _, l := range active {
		if l.channels == 0 && now.Sub(l.used) >= spareAfter && !isNeeded(l, active) && (spare == nil || l.role == forStreams) {
			spare = l
		}
	}
	if requests := withRole(active, forRequests); spare == nil && len(requests) > 1 {
		channels, quiet := 0, 0
		for _, l := range requests {
			channels += l.channels
			quiet += l.quiet
		}
		switch {
		case channels > easyChannels/2 || quiet > quietLimit/2:
			p.growth.spareSince = time.Time{}
		case p.growth.spareSince.IsZero():
			p.growth.spareSince = now
		case now.Sub(p.growth.spareSince) >= spareAfter:
			// The pools let go of its channels, so that it ends up without any.
			p.growth.spareSince = time.Time{}
			p.setAside(slices.MinFunc(requests, func(a, b *member) int { return a.channels - b.channels }))
		}
	}
	if spare != nil {
		p.startDrain(spare)
		clear(p.growth.lacks[:]) // but for what waits, nothing has lacked for long
		p.broadcast()
	}
}

// isNeeded reports whether growth would want an idle connection back: the others
// of its role have all that they take with ease.
func isNeeded(m *member, active []*member) bool {
	others := slices.DeleteFunc(withRole(active, m.role), func(o *member) bool { return o == m })
	if len(others) == 0 {
		return false
	}
	isEasy := func(o *member) bool { return o.channels < o.easy() }
	isCalm := func(o *member) bool { return o.quiet <= quietLimit }
	return !slices.ContainsFunc(others, isEasy) || m.role == forRequests && !slices.ContainsFunc(others, isCalm)
}
