package tunnel

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
	// host has to answer a probe.
	silence = 3 * time.Second
)

// race connects to the first of several hosts that answers and lets us in. It
// starts with the first, and with the next when one has failed or kept us
// waiting. A host answers by its banner: one that hangs still accepts
// connections. We log in at one after the other.
type race struct {
	entry *entry
	ctx   context.Context
	hosts []*host
	// next is the index of the host to start next, startedAt when the last was.
	// hurry tells that one has failed since.
	next      int
	startedAt time.Time
	hurry     bool
	// arrivals has room for all, so that nobody waits to put one in. Of those
	// that were started, racing have not come out of it, and racers are not done.
	arrivals chan *approach
	racing   []*host
	racers   sync.WaitGroup
	// answered are those that we have yet to log in at, the first to come first.
	answered []*approach
	failed   []hostFailure
}

// raceTo runs a race. It returns a connection, or nil, and what has failed.
func (e *entry) raceTo(hosts []*host) (*link, []hostFailure) {
	ctx, cancel := context.WithCancel(e.ctx)
	r := &race{entry: e, ctx: ctx, hosts: hosts, arrivals: make(chan *approach, len(hosts))}
	l := r.run()
	cancel()
	r.racers.Wait()
	close(r.arrivals)
	for a := range r.arrivals {
		a.end()
	}
	for _, a := range r.answered {
		a.end()
	}
	return l, r.failed
}

// run returns when a host has let us in, or when none will.
func (r *race) run() *link {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for r.ctx.Err() == nil {
		r.collect()
		if len(r.answered) > 0 {
			if l := r.logIn(); l != nil {
				return l
			}
			continue
		}
		waited, more := time.Since(r.startedAt), r.next < len(r.hosts)
		switch {
		case more && (r.hurry || waited >= staggerAfter):
			r.start()
			continue
		case more:
			timer.Reset(staggerAfter - waited)
		case len(r.racing) == 0:
			return nil
		case len(r.failed) == 0 || slices.ContainsFunc(r.racing, func(h *host) bool { return h.passedOver }):
			// They end by themselves, within connect_timeout.
		case waited >= silence:
			for _, h := range r.racing {
				h.passedOver = true
			}
			r.passOver(r.racing)
			return nil
		default:
			timer.Reset(silence - waited)
		}
		select {
		case a := <-r.arrivals:
			r.arrive(a)
		case <-timer.C:
		case <-r.ctx.Done():
		}
	}
	return nil
}

// start has the next host connected to.
func (r *race) start() {
	h := r.hosts[r.next]
	r.next++
	r.startedAt, r.hurry = time.Now(), false
	r.racing = append(r.racing, h)
	r.racers.Go(func() { // returns when h has answered, has failed, or the race is over
		r.arrivals <- r.entry.approach(r.ctx, h, r.entry.loadKeys, r.entry.reach, r.entry.awaitBanner)
	})
}

// collect takes in all that have arrived.
func (r *race) collect() {
	for {
		select {
		case a := <-r.arrivals:
			r.arrive(a)
		default:
			return
		}
	}
}

func (r *race) arrive(a *approach) {
	r.racing = slices.DeleteFunc(r.racing, func(h *host) bool { return h == a.host })
	a.host.passedOver = false
	if a.err != nil {
		r.fail(a, a.err)
		return
	}
	r.answered = append(r.answered, a)
	slices.SortFunc(r.answered, func(a, b *approach) int { return cmp.Compare(a.host.rank, b.host.rank) })
}

func (r *race) fail(a *approach, err error) {
	a.end()
	r.failed = append(r.failed, a.failure(err))
	r.hurry = true
}

// logIn logs in at the most preferred host that has answered.
func (r *race) logIn() *link {
	a := r.answered[0]
	r.answered = r.answered[1:]
	l, err := r.entry.logIn(a)
	if err != nil {
		r.fail(a, err)
		return nil
	}
	a.end()
	r.collect()
	r.passOver(slices.DeleteFunc(slices.Clone(r.racing), func(h *host) bool { return h.rank > a.host.rank }))
	return l
}

// passOver has hosts that have not answered count as failed.
func (r *race) passOver(hosts []*host) {
	for _, h := range hosts {
		r.failed = append(r.failed, hostFailure{host: h, err: noAnswerError(h), started: time.Now()})
	}
}
