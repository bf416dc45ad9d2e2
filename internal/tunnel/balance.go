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
	// stuck tells that the channel counts among the link's stuck ones.
	stuck bool
}

// tend counts a link's quiet channels, and sees what follows from it.
func (e *entry) tend(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	l.quiet = 0
	for c, a := range l.conns {
		read, written := c.Stats()
		if n := read + written; n != a.bytes {
			a.bytes, a.since = n, now
		}
		if now.Sub(a.since) >= quietAfter {
			l.quiet++
		}
		if !a.stuck && c.IsStuck() {
			a.stuck = true
			l.stuck++
		}
	}
	if l.channels == 0 {
		e.unused.lives(now.Sub(l.used))
	}
	e.closeIfDrained(l)
	e.lingerIfIdle()
	if l.limit < maxChannels && now.Sub(l.filled) >= filledFor {
		e.forgetLimit(l)
	}
	e.shedIdle(l, now)
	e.shedForQueue(now)
	e.rebalance()
	e.drainSurplus()
	e.closeSpare(now)
	e.nudge()
}

// shedIdle has the pools let go of what lies idle on a connection with many
// quiet channels, before anything else is done about them: after a burst of
// requests that may be all of them. The caller holds mu.
func (e *entry) shedIdle(l *link, now time.Time) {
	switch {
	case l.role != forRequests || l.quiet <= quietLimit:
		l.shedAt = time.Time{}
	case l.shedAt.IsZero():
		l.shedAt = now
		e.newGeneration()
	}
	l.shed = !l.shedAt.IsZero() && now.Sub(l.shedAt) >= shedTime
}

// isQuiet tells whether the link has more quiet channels than requests get on
// with, which are not those of pools. The caller holds entry.mu.
func (l *link) isQuiet() bool { return l.quiet > quietLimit && l.shed }

// rebalance lets another connection take the requests of one that has too many
// quiet channels: server-sent events, long polls and the like show only after
// they were opened as requests. The caller holds mu.
func (e *entry) rebalance() {
	active := e.active()
	requests, streams := withRole(active, forRequests), withRole(active, forStreams)
	for _, l := range requests {
		if !l.isQuiet() || e.set.MaxConnections == 1 {
			continue
		}
		calmer := func(o *link) bool { return o != l && o.quiet <= l.quiet/2 }
		if slices.ContainsFunc(requests, calmer) {
			e.setAside(l)
			return // one at a time
		}
		// There can be no more, or one is hardly used, as after a burst of
		// requests whose channels now lie idle in pools: the two change places.
		others := slices.DeleteFunc(streams, func(o *link) bool {
			return !calmer(o) || len(active) < e.set.MaxConnections && o.channels >= fewChannels
		})
		if len(others) > 0 {
			slices.MinFunc(others, func(a, b *link) int { return a.quiet - b.quiet }).role = forRequests
			e.setAside(l)
			return
		}
	}
}

// setAside makes a connection for requests one for streams. The caller holds
// mu.
func (e *entry) setAside(l *link) {
	l.role = forStreams
	e.newGeneration()
	e.broadcast()
}

// lend gives the connections of a role one of those of the other that has fewer
// channels than most, if there are as many as there may be and one stays. It
// returns nil if there is none. The caller holds mu.
func (e *entry) lend(to role, most int) *link {
	active := e.active()
	from := withRole(active, forRequests+forStreams-to)
	if len(active) < e.set.MaxConnections || len(from) < 2 {
		return nil
	}
	l := slices.MinFunc(from, func(a, b *link) int { return a.channels - b.channels })
	switch {
	case l.channels >= min(most, l.limit):
		return nil
	case to == forStreams:
		e.setAside(l)
	default:
		l.role = to
	}
	return l
}

// drainSurplus lets connections end with their channels that are more than the
// settings allow for, which may have changed. The caller holds mu.
func (e *entry) drainSurplus() {
	for {
		active := e.active()
		requests, streams := withRole(active, forRequests), withRole(active, forStreams)
		switch {
		case len(streams) > max(1, e.set.MaxConnections-1): // one stays free of streams
			active = streams
		case len(active) <= e.set.MaxConnections:
			return
		case len(requests) > 1:
			active = requests
		}
		e.startDrain(slices.MinFunc(active, func(a, b *link) int { return a.channels - b.channels }))
		e.newGeneration()
		e.broadcast() // for what the bastion listens on
	}
}

// closeSpare lets a connection go that is not needed, of those above the least
// number: one without channels. It frees one of several for requests of its
// pooled channels if they are few. The caller holds mu.
func (e *entry) closeSpare(now time.Time) {
	e.closeSpareLookups(now)
	active := e.active()
	if len(active) <= max(1, e.set.MinConnections) {
		e.growth.spareSince = time.Time{}
		return
	}
	var spare *link
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
			e.growth.spareSince = time.Time{}
		case e.growth.spareSince.IsZero():
			e.growth.spareSince = now
		case now.Sub(e.growth.spareSince) >= spareAfter:
			// The pools let go of its channels, so that it ends up without any.
			e.growth.spareSince = time.Time{}
			e.setAside(slices.MinFunc(requests, func(a, b *link) int { return a.channels - b.channels }))
		}
	}
	if spare != nil {
		e.startDrain(spare)
		clear(e.growth.lacks[:]) // but for what waits, nothing has lacked for long
		e.broadcast()
	}
}

// isNeeded tells whether growth would want an idle connection back: the others
// of its role have all that they take with ease.
func isNeeded(l *link, active []*link) bool {
	others := slices.DeleteFunc(withRole(active, l.role), func(o *link) bool { return o == l })
	if len(others) == 0 {
		return false
	}
	isEasy := func(o *link) bool { return o.channels < o.easy() }
	isCalm := func(o *link) bool { return o.quiet <= quietLimit }
	return !slices.ContainsFunc(others, isEasy) || l.role == forRequests && !slices.ContainsFunc(others, isCalm)
}
