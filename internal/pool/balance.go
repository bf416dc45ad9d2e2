package pool

import (
	"slices"
	"time"
)

// balance.go sees, once a second, what has become of a connection's channels.

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
	// read and written had gone through when it was last looked at, and had at since.
	read, written int64
	since         time.Time
	// turned is when bytes were last seen to go both ways, or none; moved are those since.
	turned time.Time
	moved  int64
	// stuck says that the channel counts among the connection's stuck ones.
	stuck bool
}

// look notes what has gone through until now.
func (a *activity) look(now time.Time, read, written int64) {
	in, out := read-a.read, written-a.written
	a.read, a.written, a.moved = read, written, a.moved+in+out
	if in+out > 0 {
		a.since = now
	}
	if (in > 0) == (out > 0) {
		a.turned, a.moved = now, 0
	}
}

// updateLoad counts a connection's quiet channels, and sees what follows from it.
func (p *Pool) updateLoad(m *member) {
	defer p.reports.Deliver()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	m.quiet, m.transfers = 0, 0
	for c, a := range m.conns {
		read, written := c.Stats()
		a.look(now, read, written)
		if a.isTransfer(now) {
			m.transfers++
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
		m.limit = maxChannels
		p.broadcast()
	}
	p.leaveToTransfers()
	p.shedIdle(m, now)
	p.shedForQueue(now)
	p.drainSurplus()
	p.closeSpare(now)
	p.closeUnused(now)
	p.wake()
}

// shedIdle asks pools of channels to let go of what lies idle on a connection with many
// quiet channels: after a burst of requests that may be all of them. If as many are
// quiet when they have had time for that, requests go elsewhere. The caller holds mu.
func (p *Pool) shedIdle(m *member, now time.Time) {
	switch {
	case m.carries != Request || m.quiet <= quietLimit:
		m.shedAt, m.shed = time.Time{}, false
	case m.shedAt.IsZero():
		m.shedAt = now
		p.newGeneration()
	case !m.shed && now.Sub(m.shedAt) >= shedTime:
		m.shed = true
		p.newGeneration()
		if len(p.suited(p.active(), Request)) == 0 {
			p.want(Request, "many quiet channels") // before the next requests come
		}
	}
}

// drainSurplus lets connections end with their channels that are more than the
// settings allow for, which may have changed. The caller holds mu.
func (p *Pool) drainSurplus() {
	for {
		surplus := p.active()
		streams := carrying(surplus, Stream)
		switch {
		case len(streams) > max(1, p.set.MaxConnections-1):
			surplus = streams // one stays free of streams
		case len(surplus) <= p.set.MaxConnections:
			return
		}
		p.startDrain(slices.MinFunc(surplus, byChannels))
		p.newGeneration()
		p.broadcast() // for what the bastion listens on
	}
}

// closeSpare closes a connection without channels that is not needed, of those for
// lookups and those above the least number. The caller holds mu.
func (p *Pool) closeSpare(now time.Time) {
	for _, m := range slices.Backward(p.serving()) {
		spare := m.carries.isApart() || len(p.active()) > max(1, p.set.MinConnections)
		if spare && m.channels == 0 && now.Sub(m.used) >= spareAfter {
			p.startDrain(m)
			clear(p.growth.lack[:]) // but for what waits, nothing has lacked for long
			p.broadcast()
			return
		}
	}
}

// closeUnused disconnects a lazy tunnel that has had no channel on any connection, however
// often one was replaced, and that was to listen on nothing, for LazyTimeout. The caller
// holds mu.
func (p *Pool) closeUnused(now time.Time) {
	serving := p.serving()
	switch {
	case p.forwards.Wanted() || slices.ContainsFunc(p.members, func(m *member) bool { return m.live() > 0 }):
		p.history.used = now
		return
	case !p.set.Lazy || p.set.LazyTimeout == 0 || len(serving) == 0 || now.Sub(p.history.used) < p.set.LazyTimeout:
		return
	}
	for _, m := range serving {
		p.startDrain(m)
	}
	p.history.since = now
	address := p.failback.inUse.Address
	p.reports.Add(func() {
		p.logAbout(address).Info("disconnected, since nothing uses the tunnel; will connect on demand")
	})
	p.broadcast()
}
