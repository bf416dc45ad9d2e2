// Package connlimit limits the attempts to log in to a server: a few at a time, and
// after a failure none before a delay. Attempts that would fail for the same reason
// share their failures, whichever tunnel makes them. It connects to nothing. Packages
// connect, pool and report import it.
package connlimit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// memory is how long failures are remembered after the last attempt, and after the
// last tunnel to a server is gone: longer than the longest delay, so that nobody gets
// around it by reloading.
const memory = time.Hour

// MaxConnects is how many connects to a server may be under way. sshd refuses clients
// when there are more than 10 (MaxStartups), dropbear more than 5 from one address.
// With one at a time, the last of ten tunnels would wait for seconds where a round
// trip takes a tenth of one.
const MaxConnects = 3

// registry holds the limiters of this process by the server and the way to it.
type registry struct {
	// mu guards limiters, and the refs and unused of each.
	mu       sync.Mutex
	limiters map[string]*Limiter
}

var servers = &registry{limiters: map[string]*Limiter{}}

// Reset forgets all limiters, for tests.
func Reset() { servers = &registry{limiters: map[string]*Limiter{}} }

// Get returns the limiter of a server, until Put. wake receives when what tunnels wait
// for may be over.
func Get(where string, wake chan struct{}) *Limiter {
	r := servers
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, l := range r.limiters {
		if l.refs == 0 && time.Since(l.unused) > memory {
			delete(r.limiters, k)
		}
	}
	l := r.limiters[where]
	if l == nil {
		l = New()
		l.registry = r
		r.limiters[where] = l
	}
	l.refs++
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakes[wake]++
	return l
}

// Put gives the limiter back.
func (l *Limiter) Put(wake chan struct{}) {
	l.registry.mu.Lock()
	defer l.registry.mu.Unlock()
	l.refs--
	l.unused = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wakes[wake]--; l.wakes[wake] <= 0 {
		delete(l.wakes, wake)
	}
}

// Limiter limits the connects to a server by one way: a few at a time, of each tunnel
// one, and one at a time of those that have failed before.
type Limiter struct {
	registry *registry
	// refs and unused are guarded by registry.mu.
	refs   int
	unused time.Time

	// mu guards the fields below.
	mu sync.Mutex
	// connects counts those that are under way.
	connects int
	records  map[Key]*record
	// released is closed, and replaced, when a connect has ended.
	released chan struct{}
	// wakes counts, for each channel, the hosts whose tunnels it wakes.
	wakes map[chan struct{}]int
}

// New returns a limiter of its own, which needs no Put.
func New() *Limiter {
	return &Limiter{records: map[Key]*record{}, released: make(chan struct{}), wakes: map[chan struct{}]int{}}
}

// ErrPostponed is why no attempt is made: another one has just failed for what this
// one would fail for.
var ErrPostponed = errors.New("another attempt has failed")

// Slot is the right to one connect, until Release.
type Slot struct {
	limiter *Limiter
	alone   []*record
}

// Acquire waits for a slot. It returns ErrPostponed if an attempt has failed meanwhile
// that this one shares the failure of, or the cause of ctx's end.
func (l *Limiter) Acquire(ctx context.Context, login Login, demand Demand) (*Slot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.worthTrying(login, demand) {
		return nil, ErrPostponed
	}
	before := l.failures(login)
	for {
		if l.failures(login) != before {
			return nil, ErrPostponed
		}
		if s := l.admit(login); s != nil {
			return s, nil
		}
		if err := l.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wait waits until a connect has ended, or ctx. The caller holds mu, which is not held
// meanwhile.
func (l *Limiter) wait(ctx context.Context) error {
	released := l.released
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-released:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// admit returns a slot, or nil if there is none. The caller holds mu.
func (l *Limiter) admit(login Login) *Slot {
	if l.connects >= MaxConnects {
		return nil
	}
	s := &Slot{limiter: l}
	for _, key := range login.keys() {
		r := l.record(key)
		// Credentials that nobody has tried yet are tried once, not by all at once.
		if r.err == nil && (r.accepted || key != login.Credentials) {
			continue
		}
		if r.alone {
			return nil
		}
		s.alone = append(s.alone, r)
	}
	for _, r := range s.alone {
		r.alone = true
	}
	l.connects++
	return s
}

// Release gives the slot back. It is idempotent, and does nothing on nil.
func (s *Slot) Release() {
	if s == nil || s.limiter == nil {
		return
	}
	l := s.limiter
	s.limiter = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range s.alone {
		r.alone = false
	}
	l.connects--
	close(l.released)
	l.released = make(chan struct{})
}
