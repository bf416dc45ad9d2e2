package tunnel

import (
	"context"
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
)

// roleFor returns the role of connections for a class.
func roleFor(class Class) role {
	if class == Stream {
		return forStreams
	}
	return forRequests
}

// pick returns a connection with a place for one more channel, which it has
// counted. It waits for a connection while that can help.
func (e *entry) pick(ctx context.Context, class Class, patient bool) (*link, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	since := e.attempts
	w := &wish{class: class}
	defer w.stop()
	for {
		if e.ctx.Err() != nil {
			return nil, ErrClosed
		}
		l, err := e.place(w)
		if l != nil {
			l.take(class)
			if l.channels >= l.easy() || l.role != roleFor(class) {
				e.nudge() // there may be need for one more
			}
			return l, nil
		}
		if err != nil {
			return nil, err
		}
		over := ctx.Err() != nil
		if len(e.active()) == 0 {
			e.asked = true
			if e.failed != nil && (!patient || e.attempts != since || over) {
				e.nudge()
				return nil, &DownError{
					Tunnel: e.cfg.Name, Cause: e.failed,
					RetryAfter: max(time.Second, time.Until(e.retryAt)),
				}
			}
		}
		e.nudge()
		if over {
			return nil, &TimeoutError{Tunnel: e.cfg.Name, Doing: "waiting for the connection to the bastion", Cause: context.Cause(ctx)}
		}
		e.waitForChange(ctx, w.timeUp)
	}
}

// pickOther returns another connection than not, on which the bastion could not
// open a channel though the target may be well, or nil if there is none, nor
// one to be had soon. The place on it is counted.
func (e *entry) pickOther(ctx context.Context, class Class, not *link) *link {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := &wish{class: class, not: not}
	defer w.stop()
	for e.ctx.Err() == nil && ctx.Err() == nil && len(e.active()) > 0 {
		l, err := e.place(w)
		if l != nil {
			l.take(class)
			return l
		}
		if err != nil || w.isTimeUp() {
			return nil
		}
		w.startTimer()
		e.nudge()
		e.waitForChange(ctx, w.timeUp)
	}
	return nil
}

// waitForChange waits for a change of the entry, the end of ctx, or timeUp. The
// caller holds mu, which is not held meanwhile.
func (e *entry) waitForChange(ctx context.Context, timeUp <-chan time.Time) {
	changed := e.changed
	e.mu.Unlock()
	defer e.mu.Lock()
	select {
	case <-changed:
	case <-ctx.Done():
	case <-timeUp:
	}
}

// wish is what a dial wants of place, and how long it has waited for it.
type wish struct {
	class Class
	// not is a connection that it must not be.
	not *link

	timer *time.Timer
	// timeUp fires streamPatience after startTimer.
	timeUp  <-chan time.Time
	expires time.Time
}

func (w *wish) startTimer() {
	if w.timer == nil {
		w.timer = time.NewTimer(streamPatience)
		w.timeUp, w.expires = w.timer.C, time.Now().Add(streamPatience)
	}
}

func (w *wish) isTimeUp() bool { return w.timer != nil && !time.Now().Before(w.expires) }

func (w *wish) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// place chooses the connection that a new channel opens on. It returns nil if
// there is none yet and one may come, and an error if none will. The caller
// holds mu.
func (e *entry) place(w *wish) (*link, error) {
	active := e.active()
	if len(active) == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	if w.class == anyClass {
		return active[0], nil
	}
	room := slices.DeleteFunc(slices.Clone(active), func(l *link) bool { return l == w.not || l.channels >= l.limit })
	want := roleFor(w.class)
	has := func(links []*link, r role) bool {
		return slices.ContainsFunc(links, func(l *link) bool { return l.role == r })
	}

	own := has(room, want) || has(room, undecided)
	if !own {
		e.lacks[want] = true // growth looks at it
	}
	// One stays free of streams, so that the last is not for them.
	last := want == forStreams && len(withRole(active, forStreams)) >= e.set.MaxConnections-1
	grows := len(active) < e.set.MaxConnections && !last && e.mayConnect()
	switch {
	case len(room) == 0:
	case own, want == forRequests:
		// A request goes to a connection for streams rather than wait.
		l := best(room, w.class)
		if l.role == want && l.channels >= l.easy() {
			if other := e.lend(want, fewChannels); other != nil && other != w.not {
				return other, nil
			}
		}
		return l, nil
	case e.set.MaxConnections == 1:
		return best(room, w.class), nil
	case has(active, want) && w.not == nil:
		// Those for streams are full, and one for requests stays free of them.
		if l := e.lend(forStreams, maxChannels); l != nil {
			return l, nil
		}
	case !grows || e.stunted || w.isTimeUp():
		return best(room, w.class), nil
	default:
		w.startTimer()
	}
	if !grows {
		return nil, e.full(len(active))
	}
	return nil, nil //nolint:nilnil // as documented
}

// best returns the best connection for a channel of a class. There is one.
func best(links []*link, class Class) *link {
	rank := requestRank
	if class == Stream {
		rank = streamRank
	}
	return slices.MinFunc(links, func(a, b *link) int { return slices.Compare(rank(a), rank(b)) })
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

// take counts one more channel of a class. The caller holds entry.mu.
func (l *link) take(class Class) {
	l.channels++
	if l.role == undecided && class != anyClass {
		l.role = roleFor(class)
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
	if l.channels == l.limit-1 {
		e.broadcast() // there is room again
	}
	l.used = time.Now()
	e.closeIfDrained(l)
	e.lingerIfIdle()
}

// full is the error of a dial that no connection has room for. The caller holds
// mu.
func (e *entry) full(connections int) error {
	err := &FullError{Tunnel: e.cfg.Name, Connections: connections, Max: e.set.MaxConnections}
	if connections < e.set.MaxConnections {
		err.Cause = e.inUse.gate.lastError(e.inUse.login.with(e.set))
	}
	return err
}

// mayConnect tells whether an attempt to connect is under way or due. The
// caller holds mu.
func (e *entry) mayConnect() bool {
	due, _ := e.due(false)
	return !time.Now().Before(due)
}

// fill has a link take no more channels than it has. It does not, and is false,
// if these are so few that they cannot be why it opened no more.
func (e *entry) fill(l *link) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.channels < fewChannels {
		return false
	}
	l.limit, l.filled = l.channels, time.Now()
	return true
}

// unfill undoes fill.
func (e *entry) unfill(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forgetLimit(l)
}

// forgetLimit has a link take as many channels as any. The caller holds mu.
func (e *entry) forgetLimit(l *link) {
	l.limit = maxChannels
	e.broadcast()
}

// channelOpened and channelClosed stand around an open channel's life.
func (e *entry) channelOpened(l *link, c *Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.conns[c] = &activity{since: time.Now()}
}

func (e *entry) channelClosed(l *link, c *Conn) {
	e.mu.Lock()
	if l.conns[c].stuck {
		l.stuck--
	}
	delete(l.conns, c)
	e.mu.Unlock()
	e.channelEnded(l)
}
