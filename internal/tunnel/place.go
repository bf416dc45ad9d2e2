package tunnel

import (
	"slices"
	"time"
)

const (
	// easyChannels is how many channels a connection takes before another one
	// is wanted: sshd's work for each byte grows with its open channels.
	easyChannels = 256
	// maxChannels is how many it takes at most. sshd under systemd's default
	// limit of 1,024 files cannot open many more.
	maxChannels = 900
	// fewChannels is how many it takes at least.
	fewChannels = 16
	// cappedFor is how long it takes no more than it had when the bastion
	// refused one: that may have had another reason, which is over. To find out
	// that it had not costs one open that is made again elsewhere.
	cappedFor = 5 * time.Minute
	// streamPatience is how long a stream waits for the first connection for
	// streams before it shares that of the requests.
	streamPatience = time.Second
	// shedAfter is how long a dial waits for a place before pools let go of their
	// channels.
	shedAfter = time.Second
)

// anyClass is the class of a channel that is never opened.
const anyClass Class = -1

// role is which class of channels a connection is for.
type role int

const (
	// undecided is the role of a tunnel's only connection until its first
	// channel: a tunnel that has but one class of channels needs but one.
	undecided role = iota
	forRequests
	forStreams
	// forLookups and forSlowNames are the roles of connections that names are looked
	// up on which may take long; see lookup.go.
	forLookups
	forSlowNames
	roles // how many there are
)

// roleFor returns the role of connections for a class.
func roleFor(class Class) role {
	switch class {
	case Stream:
		return forStreams
	case lookupClass:
		return forLookups
	case slowClass:
		return forSlowNames
	default:
		return forRequests
	}
}

// place chooses the connection that a new channel opens on. It returns nil if
// there is none yet and one may come, or if it is not the dial's turn on any, and
// an error if all are full. The caller holds mu.
func (p *pool) place(w *placement) (*member, error) {
	if roleFor(w.line.class).isApart() {
		if l, ok := p.placeLookup(w); ok {
			return l, nil
		}
	}
	active := p.active()
	w.waits = waitConnection
	if len(active) == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	class := w.line.class
	switch class {
	case anyClass:
		return active[0], nil
	case lookupClass, slowClass:
		class = Stream
	}
	room := slices.DeleteFunc(slices.Clone(active), func(m *member) bool { return slices.Contains(w.not, m) || m.channels >= m.limit })
	want := roleFor(class)
	has := func(links []*member, r role) bool {
		return slices.ContainsFunc(links, func(m *member) bool { return m.role == r })
	}

	own := has(room, want) || has(room, undecided)
	if !own && !w.growNothing {
		p.growth.lacks[want] = true
	}
	// One stays free of streams, so that the last is not for them.
	last := want == forStreams && len(withRole(active, forStreams)) >= p.set.MaxConnections-1
	grows := len(active) < p.set.MaxConnections && !last && p.mayConnect() && !w.growNothing
	switch {
	case len(room) == 0:
	case own, want == forRequests:
		// A request goes to a connection for streams rather than wait.
		l := p.inTurn(w, best(room, class))
		if l != nil && l.role == want && l.channels >= l.easy() {
			if other := p.lend(want, fewChannels); other != nil && !slices.Contains(w.not, other) {
				return p.inTurn(w, []*member{other}), nil
			}
		}
		return l, nil
	case p.set.MaxConnections == 1:
		return p.inTurn(w, best(room, class)), nil
	case has(active, want) && w.not == nil:
		// Those for streams are full, and one for requests stays free of them.
		if l := p.lend(forStreams, maxChannels); l != nil {
			return p.inTurn(w, []*member{l}), nil
		}
	case !grows || p.growth.state == growthFailed || w.isTimeUp():
		return p.inTurn(w, best(room, class)), nil
	default:
		p.wakeWhenTimeUp(w)
	}
	if !grows {
		w.waits = waitPlace
		return nil, p.full(len(active))
	}
	return nil, nil //nolint:nilnil // as documented
}

// best returns the connections for a channel of a class, the best first: those of
// the same role as that. There is one.
func best(links []*member, class Class) []*member {
	rank := requestRank
	if class == Stream {
		rank = streamRank
	}
	slices.SortStableFunc(links, func(a, b *member) int { return slices.Compare(rank(a), rank(b)) })
	return withRole(links, links[0].role)
}

// inTurn returns the first connection on which one more open to the target may be
// unanswered, or nil. The caller holds mu.
func (p *pool) inTurn(w *placement, links []*member) *member {
	unanswered := 0
	for _, m := range p.active() {
		unanswered += m.opens.to(w.line.target)
	}
	for _, m := range links {
		if unanswered < min(maxPendingOpensPerTarget, maxPendingOpens-m.opens.pending()) {
			return m
		}
	}
	w.waits = waitTurn
	return nil
}

// isTimeUp reports whether a stream has waited for streamPatience.
func (w *placement) isTimeUp() bool { return time.Since(w.arrived) >= streamPatience }

// wakeWhenTimeUp has a stream placed again when it has waited for streamPatience.
// The caller holds mu.
func (p *pool) wakeWhenTimeUp(w *placement) {
	if w.timer != nil {
		return
	}
	w.timer = time.AfterFunc(time.Until(w.arrived.Add(streamPatience)), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.serveQueue()
	})
}

// requestRank orders connections for a request: first those for requests, first
// those with the fewest quiet channels.
func requestRank(m *member) []int {
	return []int{boolRank(m.role == forStreams), m.quiet, m.channels}
}

// streamRank orders connections for a stream: first those for streams. They are
// cappedAt one after the other, so that the others may empty; and evenly, once
// they have all that they take with ease.
func streamRank(m *member) []int {
	filling := m.channels < m.easy()
	n := m.channels
	if filling {
		n = -n
	}
	return []int{boolRank(m.role == forRequests), boolRank(!filling), n}
}

func boolRank(last bool) int {
	if last {
		return 1
	}
	return 0
}

// take counts one more channel, and its open. The caller holds pool.mu.
func (m *member) take(k lineKey) {
	m.channels++
	if k.class == anyClass {
		return
	}
	m.opens.take(k.target)
	if m.role == undecided && !roleFor(k.class).isApart() {
		m.role = roleFor(k.class)
	}
}

// easy is how many channels the connection takes before another one is wanted. The
// caller holds pool.mu.
func (m *member) easy() int { return min(easyChannels, m.limit) }

// channelEnded takes a channel off the connection's count.
func (p *pool) channelEnded(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.channels--
	m.used = time.Now()
	p.serveQueue()
	p.closeIfDrained(m)
	p.lingerIfIdle()
}

// full is the error of a dial that no connection has room for. The caller holds
// mu.
func (p *pool) full(connections int) error {
	err := &FullError{Tunnel: p.cfg.Name, Connections: connections, Max: p.set.MaxConnections}
	if connections < p.set.MaxConnections {
		err.Cause = p.failback.inUse.pendingFailure(p.set)
	}
	return err
}

// mayConnect reports whether an attempt to connect is under way or due. The
// caller holds mu.
func (p *pool) mayConnect() bool {
	due, _ := p.due(false)
	return !time.Now().Before(due)
}

// uncap has a connection take as many channels as any. The caller holds mu.
func (p *pool) uncap(m *member) {
	m.limit = maxChannels
	p.broadcast()
}
