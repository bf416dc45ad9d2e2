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
	// filledFor is how long it takes no more than it had when the bastion
	// refused one: that may have had another reason, which is over. To find out
	// that it had not costs one open that is made again elsewhere.
	filledFor = 5 * time.Minute
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
func (e *entry) place(w *wish) (*link, error) {
	if roleFor(w.line.class).isApart() {
		if l, ok := e.placeLookup(w); ok {
			return l, nil
		}
	}
	active := e.active()
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
	room := slices.DeleteFunc(slices.Clone(active), func(l *link) bool { return slices.Contains(w.not, l) || l.channels >= l.limit })
	want := roleFor(class)
	has := func(links []*link, r role) bool {
		return slices.ContainsFunc(links, func(l *link) bool { return l.role == r })
	}

	own := has(room, want) || has(room, undecided)
	if !own && !w.growNothing {
		e.growth.lacks[want] = true
	}
	// One stays free of streams, so that the last is not for them.
	last := want == forStreams && len(withRole(active, forStreams)) >= e.set.MaxConnections-1
	grows := len(active) < e.set.MaxConnections && !last && e.mayConnect() && !w.growNothing
	switch {
	case len(room) == 0:
	case own, want == forRequests:
		// A request goes to a connection for streams rather than wait.
		l := e.inTurn(w, best(room, class))
		if l != nil && l.role == want && l.channels >= l.easy() {
			if other := e.lend(want, fewChannels); other != nil && !slices.Contains(w.not, other) {
				return e.inTurn(w, []*link{other}), nil
			}
		}
		return l, nil
	case e.set.MaxConnections == 1:
		return e.inTurn(w, best(room, class)), nil
	case has(active, want) && w.not == nil:
		// Those for streams are full, and one for requests stays free of them.
		if l := e.lend(forStreams, maxChannels); l != nil {
			return e.inTurn(w, []*link{l}), nil
		}
	case !grows || e.growth.state == growthFailed || w.isTimeUp():
		return e.inTurn(w, best(room, class)), nil
	default:
		e.wakeWhenTimeUp(w)
	}
	if !grows {
		w.waits = waitPlace
		return nil, e.full(len(active))
	}
	return nil, nil //nolint:nilnil // as documented
}

// best returns the connections for a channel of a class, the best first: those of
// the same role as that. There is one.
func best(links []*link, class Class) []*link {
	rank := requestRank
	if class == Stream {
		rank = streamRank
	}
	slices.SortStableFunc(links, func(a, b *link) int { return slices.Compare(rank(a), rank(b)) })
	return withRole(links, links[0].role)
}

// inTurn returns the first connection on which one more open to the target may be
// unanswered, or nil. The caller holds mu.
func (e *entry) inTurn(w *wish, links []*link) *link {
	unanswered := 0
	for _, l := range e.active() {
		unanswered += l.opens.to(w.line.target)
	}
	for _, l := range links {
		if unanswered < min(maxPendingOpensPerTarget, maxPendingOpens-l.opens.pending()) {
			return l
		}
	}
	w.waits = waitTurn
	return nil
}

// isTimeUp tells whether a stream has waited for streamPatience.
func (w *wish) isTimeUp() bool { return time.Since(w.arrived) >= streamPatience }

// wakeWhenTimeUp has a stream placed again when it has waited for streamPatience.
// The caller holds mu.
func (e *entry) wakeWhenTimeUp(w *wish) {
	if w.timer != nil {
		return
	}
	w.timer = time.AfterFunc(time.Until(w.arrived.Add(streamPatience)), func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.serveQueue()
	})
}

// requestRank orders connections for a request: first those for requests, first
// those with the fewest quiet channels.
func requestRank(l *link) []int {
	return []int{boolRank(l.role == forStreams), l.quiet, l.channels}
}

// streamRank orders connections for a stream: first those for streams. They are
// filled one after the other, so that the others may empty; and evenly, once
// they have all that they take with ease.
func streamRank(l *link) []int {
	filling := l.channels < l.easy()
	n := l.channels
	if filling {
		n = -n
	}
	return []int{boolRank(l.role == forRequests), boolRank(!filling), n}
}

func boolRank(last bool) int {
	if last {
		return 1
	}
	return 0
}

// take counts one more channel, and its open. The caller holds entry.mu.
func (l *link) take(k lineKey) {
	l.channels++
	if k.class == anyClass {
		return
	}
	l.opens.take(k.target)
	if l.role == undecided && !roleFor(k.class).isApart() {
		l.role = roleFor(k.class)
	}
}

// easy is how many channels the link takes before another one is wanted. The
// caller holds entry.mu.
func (l *link) easy() int { return min(easyChannels, l.limit) }

// channelEnded takes a channel off the link's count.
func (e *entry) channelEnded(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.channels--
	l.used = time.Now()
	e.serveQueue()
	e.closeIfDrained(l)
	e.lingerIfIdle()
}

// full is the error of a dial that no connection has room for. The caller holds
// mu.
func (e *entry) full(connections int) error {
	err := &FullError{Tunnel: e.cfg.Name, Connections: connections, Max: e.set.MaxConnections}
	if connections < e.set.MaxConnections {
		err.Cause = e.inUse.pendingFailure(e.set)
	}
	return err
}

// mayConnect tells whether an attempt to connect is under way or due. The
// caller holds mu.
func (e *entry) mayConnect() bool {
	due, _ := e.due(false)
	return !time.Now().Before(due)
}

// forgetLimit has a link take as many channels as any. The caller holds mu.
func (e *entry) forgetLimit(l *link) {
	l.limit = maxChannels
	e.broadcast()
}
