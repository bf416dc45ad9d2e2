package pool

import (
	"cmp"
	"slices"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// place.go chooses the connection that a new channel opens on.
//
// A connection carries requests or streams, whichever its first channel was, until it
// has none. A channel opens where there are others of its class, fewer than 256 and, for
// a request, no more than 64 quiet ones, or else on a connection without any. If there is
// no such connection, another one is made in the background; a stream waits a second for
// it if there is none for streams. Otherwise channels share: a request any connection, a
// stream those of streams, or the one that is the last that a request would choose,
// unless requests have but that one. One that finds all full waits in line. A connection
// of requests with large transfers becomes one of streams; see transfer.go.

const (
	// easyChannels is how many channels a connection takes before another one
	// is wanted: sshd's work for each byte grows with its open channels.
	easyChannels = 256
	// maxChannels is how many it takes at most. sshd under systemd's default
	// limit of 1,024 files cannot open many more.
	maxChannels = 900
	// streamPatience is how long a stream waits for the first connection for
	// streams before it shares that of the requests.
	streamPatience = time.Second
)

// The classes besides Request and Stream.
const (
	// anyClass is the class of a channel that is never opened, and of a connection
	// that carries none.
	anyClass Class = -1
	// lookupClass and slowClass are for names that may take long; see lookup.go.
	lookupClass Class = 2
	slowClass   Class = 3
	classes           = 4 // how many have connections of their own
)

// place chooses the connection that a new channel opens on. It returns nil if
// there is none yet and one may come, or if it is not the dial's turn on any, and
// an error if all are full. The caller holds mu.
func (p *Pool) place(w *placement) (*member, error) {
	class := w.line.class
	if class.isApart() {
		if m, ok := p.placeLookup(w); ok {
			return m, nil
		}
		class = Stream
	}
	active := p.active()
	w.waits = waitConnection
	switch {
	case len(active) == 0:
		return nil, nil //nolint:nilnil // as documented
	case class == anyClass:
		return active[0], nil
	}
	room := slices.DeleteFunc(slices.Clone(active), func(m *member) bool { return m == w.not || m.channels >= m.limit })
	if own := p.suited(room, class); len(own) > 0 {
		return p.inTurn(w, own), nil
	}
	grows := p.lacks(class, room, w)
	shared := best(room, class)
	if class == Stream {
		streams := len(carrying(active, Stream))
		waits := grows && time.Since(w.arrived) < streamPatience
		switch own := carrying(shared, Stream); {
		case len(own) > 0:
			shared = own
		case waits:
			shared = nil // await places it again when the time is up
		case streams > 0 && len(active)-streams < 2:
			shared = nil // the last is for requests
		}
	}
	switch {
	case len(shared) > 0:
		return p.inTurn(w, shared), nil
	case grows:
		return nil, nil //nolint:nilnil // as documented
	default:
		w.waits = waitPlace
		return nil, p.full(len(active))
	}
}

// carrying returns those of the connections that carry a class.
func carrying(links []*member, class Class) []*member {
	return slices.DeleteFunc(slices.Clone(links), func(m *member) bool { return m.carries != class })
}

// suited returns the connections that a channel of a class opens on without need for
// another one, the best first. Streams fill one after the other, so that the others may
// empty. Requests spread evenly over as many as there always are, and fill the others
// one after the other. The caller holds mu.
func (p *Pool) suited(links []*member, class Class) []*member {
	own := slices.DeleteFunc(slices.Clone(links), func(m *member) bool {
		free := m.carries == anyClass && (class == Request || p.mayCarryStreams())
		return m.carries != class && !free || m.channels >= m.easy() || class == Request && m.shed
	})
	if class == Request {
		always := own[:min(len(own), p.set.MinConnections)]
		slices.SortStableFunc(always, byChannels)
		return own
	}
	slices.Reverse(own)
	slices.SortStableFunc(own, func(a, b *member) int { return byChannels(b, a) })
	return own
}

// mayCarryStreams reports whether one more connection may: one stays free of streams,
// where there may be two. The caller holds mu.
func (p *Pool) mayCarryStreams() bool {
	return len(carrying(p.active(), Stream)) < max(1, p.set.MaxConnections-1)
}

// best returns the connections in the order in which channels of a class share them. A
// request takes the one with the fewest quiet channels of those without streams. A stream
// takes the fullest of those with streams last, and else the one that requests leave.
func best(links []*member, class Class) []*member {
	rank := func(m *member) []int {
		streams := 0
		if m.carries == Stream {
			streams = 1
		}
		switch {
		case class == Request:
			return []int{streams, m.quiet, m.channels}
		case streams == 1:
			return []int{0, m.channels}
		default:
			return []int{1, -m.quiet, m.channels}
		}
	}
	links = slices.Clone(links)
	slices.SortStableFunc(links, func(a, b *member) int { return slices.Compare(rank(a), rank(b)) })
	return links
}

// inTurn returns the first connection on which one more open to the target may be
// unanswered, or nil. The caller holds mu.
func (p *Pool) inTurn(w *placement, links []*member) *member {
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

// take counts one more channel, and its open. It, channelEnded and leaveToTransfers are all
// that changes what a connection carries. The caller holds mu.
func (p *Pool) take(m *member, k lineKey) {
	m.channels++
	if k.class == anyClass {
		return
	}
	m.opens.take(k.target)
	class := k.class
	if class.isApart() {
		class = Stream // on a connection that is not apart, it has to share
	}
	switch {
	case m.carries == anyClass:
		m.carries = class
	case m.carries == Request && class == Stream:
		m.carries = Stream
		if len(p.active()) > 1 {
			p.newGeneration() // requests have others
		}
	}
}

// easy is how many channels the connection takes before another one is wanted. The
// caller holds Pool.mu.
func (m *member) easy() int { return min(easyChannels, m.limit) }

// channelEnded takes a channel off the connection's count.
func (p *Pool) channelEnded(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.channels--
	m.used = time.Now()
	p.history.used = m.used
	if m.channels == m.held && !m.carries.isApart() {
		m.carries, m.shedAt, m.shed = anyClass, time.Time{}, false
	}
	p.serveQueue()
	p.closeIfDrained(m)
	p.lingerIfIdle()
}

// full is the error of a dial that no connection has room for. The caller holds
// mu.
func (p *Pool) full(connections int) error {
	err := &failure.FullError{Tunnel: p.cfg.Name, Connections: connections, Max: p.set.MaxConnections}
	if connections < p.set.MaxConnections {
		err.Cause = p.failback.inUse.pendingFailure(p.set)
	}
	return err
}

// mayConnect reports whether an attempt to connect is under way or due. The
// caller holds mu.
func (p *Pool) mayConnect() bool {
	due, _ := p.due(false)
	return !time.Now().Before(due)
}

// byChannels orders connections by how many channels they have.
func byChannels(a, b *member) int { return cmp.Compare(a.channels, b.channels) }
