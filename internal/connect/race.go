package connect

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// staggerAfter is how long a host may keep us waiting for its banner before
	// the next one is connected to beside it.
	staggerAfter = time.Second
	// silence is how long the last host may do so where others have failed:
	// these are asked again rather than that one waited for, but not twice in a
	// row, or one that is slow would never be connected to. It is also how long a
	// login may make no progress before the next host is tried beside it, how long
	// other tunnels' connects to a host are waited for, and how long a host has to
	// answer a probe.
	silence = 3 * time.Second
)

// race connects to the first of several hosts that answers and lets us in. It
// starts with the first, and with the next when one has failed or kept us
// waiting. A host answers by its banner: one that hangs still accepts
// connections. We log in at one after the other, and at the next before the last
// has ended only if that hangs.
type race struct {
	connector *Connector
	ctx       context.Context
	hosts     []*Host
	// next is the index of the host to start next. startedAt is when the last was,
	// and entered says that it has had its turn since. hurry says that one has
	// failed since.
	next      int
	startedAt time.Time
	entered   bool
	hurry     bool
	// Each of these has room for all, so that nobody waits to put one in: hosts
	// that have got their turn, and what has become of approaches and logins.
	turns    chan *Host
	arrivals chan *approach
	outcomes chan loginOutcome
	// Of those that were started, racing have not come out of it, and racers are
	// not done.
	racing []*Host
	racers sync.WaitGroup
	// answered are those that we have yet to log in at, the first to come first,
	// and loggingIn those that we do.
	answered, loggingIn []*approach
	failed              []Failure
	// won is the first connection.
	won *Connection
}

// loginOutcome is a login that has ended.
type loginOutcome struct {
	*approach
	connection *Connection
	err        error
}

// raceTo runs a race. It returns a connection, or nil, and what has failed.
func (c *Connector) raceTo(ctx context.Context, hosts []*Host) (*Connection, []Failure) {
	ctx, cancel := context.WithCancel(ctx)
	n := len(hosts)
	r := &race{
		connector: c, ctx: ctx, hosts: hosts,
		turns: make(chan *Host, n), arrivals: make(chan *approach, n), outcomes: make(chan loginOutcome, n),
	}
	r.run()
	cancel()
	r.racers.Wait()
	close(r.arrivals)
	for a := range r.arrivals {
		a.end()
	}
	for _, a := range r.answered {
		a.end()
	}
	close(r.outcomes)
	for o := range r.outcomes { // too late
		if o.connection != nil {
			o.connection.close()
		}
		o.end()
	}
	return r.won, r.failed
}

// run returns when a host has let us in, or when none will.
func (r *race) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for r.ctx.Err() == nil {
		r.collect()
		if r.won != nil {
			return
		}
		wait, over := r.proceed()
		if over {
			return
		}
		timer.Reset(wait)
		select {
		case h := <-r.turns:
			r.enter(h)
		case a := <-r.arrivals:
			r.arrive(a)
		case o := <-r.outcomes:
			r.loggedIn(o)
		case <-timer.C:
		case <-r.ctx.Done():
		}
	}
}

// proceed does what there is to do now. It returns how long there is nothing
// else, at most, and reports whether the race is over.
func (r *race) proceed() (wait time.Duration, over bool) {
	if hangs := r.hangsIn(); hangs > 0 { // a login goes on
		return hangs, false
	}
	if len(r.answered) > 0 {
		r.logIn()
		return silence, false
	}
	patience := staggerAfter
	if !r.entered {
		patience = silence // others connect to it
	}
	waited := time.Since(r.startedAt)
	switch {
	case r.next < len(r.hosts) && (r.hurry || waited >= patience):
		r.start()
		return silence, false
	case r.next < len(r.hosts):
		return patience - waited, false
	case len(r.racing) == 0:
		return r.connector.state().Timeout, len(r.loggingIn) == 0
	case len(r.failed) == 0 || slices.ContainsFunc(r.racing, func(h *Host) bool { return h.passedOver }):
		// They end by themselves, within connect_timeout.
		return r.connector.state().Timeout, false
	case waited < silence:
		return silence - waited, false
	}
	for _, h := range r.racing {
		h.passedOver = true
	}
	r.passOver(r.racing)
	r.racing = nil
	return 0, len(r.loggingIn) == 0
}

// hangsIn is how long until the logins that are under way have made no progress
// for silence; none has, if it is not positive.
func (r *race) hangsIn() (left time.Duration) {
	for _, a := range r.loggingIn {
		left = max(left, silence-time.Since(later(a.loginAt, a.steps.lastProgress())))
	}
	return left
}

// start connects to the next host.
func (r *race) start() {
	h := r.hosts[r.next]
	r.next++
	r.startedAt, r.entered, r.hurry = time.Now(), false, false
	r.racing = append(r.racing, h)
	hasTurn := func(*approach) error {
		r.turns <- h
		return nil
	}
	r.racers.Go(func() { // returns when h has answered, has failed, or the race is over
		r.arrivals <- r.connector.approach(r.ctx, h, hasTurn, r.connector.loadKeys, r.connector.reach, r.connector.greet, r.connector.awaitBanner)
	})
}

// enter starts the time of the host that was started last: it has its turn.
func (r *race) enter(h *Host) {
	if h == r.hosts[r.next-1] {
		r.startedAt, r.entered = time.Now(), true
	}
}

// collect takes in all that has arrived.
func (r *race) collect() {
	for r.won == nil {
		select {
		case o := <-r.outcomes:
			r.loggedIn(o)
		case a := <-r.arrivals:
			r.arrive(a)
		default:
			return
		}
	}
}

func (r *race) arrive(a *approach) {
	r.racing = slices.DeleteFunc(r.racing, func(h *Host) bool { return h == a.host })
	a.host.passedOver = false
	if a.err != nil {
		r.fail(a, a.err)
		return
	}
	r.answered = append(r.answered, a)
	slices.SortFunc(r.answered, func(a, b *approach) int { return cmp.Compare(a.host.Rank, b.host.Rank) })
}

func (r *race) fail(a *approach, err error) {
	r.failed = append(r.failed, r.connector.failure(a, err)...)
	a.end()
	r.hurry = true
}

// logIn logs in at the most preferred host that has answered.
func (r *race) logIn() {
	a := r.answered[0]
	r.answered = r.answered[1:]
	a.loginAt = time.Now()
	r.loggingIn = append(r.loggingIn, a)
	r.racers.Go(func() { // returns when the login has ended, which the end of the race brings about
		c, err := r.connector.logIn(a)
		r.outcomes <- loginOutcome{a, c, err}
	})
}

// loggedIn takes the outcome of a login.
func (r *race) loggedIn(o loginOutcome) {
	r.loggingIn = slices.DeleteFunc(r.loggingIn, func(a *approach) bool { return a == o.approach })
	if o.err != nil {
		r.fail(o.approach, o.err)
		return
	}
	o.end()
	r.won = o.connection
	better := func(h *Host) bool { return h.Rank < o.host.Rank }
	r.passOver(slices.DeleteFunc(slices.Clone(r.racing), func(h *Host) bool { return !better(h) }))
	for _, a := range r.loggingIn {
		r.failed = append(r.failed, r.connector.failure(a, slowLoginError(a.host))...)
	}
}

// passOver counts hosts that have not answered as failed.
func (r *race) passOver(hosts []*Host) {
	for _, h := range hosts {
		r.failed = append(r.failed, r.connector.failure(r.connector.unreached(r.ctx, h, time.Now()), noAnswerError(h))...)
	}
}
