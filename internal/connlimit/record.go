package connlimit

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// Key identifies the attempts that share a record: Of is a digest of what they have in
// common, the rest for how long and how often they try.
type Key struct {
	Of      string
	Timeout time.Duration
	Delay   Delay
}

// Login is one way to log in, as the keys of its records.
type Login struct {
	// Reach is for failures before the authentication, which any setting may have
	// brought about.
	Reach Key
	// HostKeys is for a host key that is not accepted.
	HostKeys Key
	// Credentials is for an authentication that is refused.
	Credentials Key
}

// shutOut is the key of the record that all share who come from one address: the
// server refuses it (PerSourcePenalties).
var shutOut = Key{Of: "shut out"}

func (g Login) keys() [4]Key { return [4]Key{shutOut, g.Reach, g.HostKeys, g.Credentials} }

// keyOf returns the key of the record that an error belongs to.
func (g Login) keyOf(err error) Key {
	_, isAuth := errors.AsType[*failure.AuthError](err)
	switch class := failure.ClassOf(err); {
	case class == failure.ClassShutOut:
		return shutOut
	case class == failure.ClassRefused && isAuth:
		return g.Credentials
	case class == failure.ClassRefused:
		return g.HostKeys
	default:
		return g.Reach
	}
}

// Stamps tell, by a record's key, what the files and secrets hold that a refusal
// depends on. They show nothing of it.
type Stamps map[Key]string

// Demand is who wants an attempt. Both hasten it.
type Demand struct {
	// Dials says that dials wait for it.
	Dials bool
	// Forced says that a person has demanded it.
	Forced bool
}

// Failure is an attempt that has failed.
type Failure struct {
	Err     error
	Started time.Time
	// Stamps are those of the files before they were read.
	Stamps Stamps
	// Forced is Demand's. Served says that other connections serve.
	Forced, Served bool
}

// record is what went wrong since it last worked.
type record struct {
	// n counts the failures of class in a row.
	n     int
	class failure.Class
	// err is the last failure, or nil once an attempt has succeeded.
	err error
	// started is when the last attempt was, next when another is due.
	started, next time.Time
	// stamp is that of the files when they were last read.
	stamp string
	// accepted says that an attempt has succeeded, and none was refused since.
	accepted bool
	// alone says that the attempt under way is to be the only one.
	alone bool
	// total counts all failures, and is never reset. touched is when it last changed.
	total   int
	touched time.Time
}

// reset starts anew.
func (r *record) reset() {
	*r = record{alone: r.alone, total: r.total, started: r.started, touched: time.Now()}
}

// due returns when the next attempt may start.
func (r *record) due(demand Demand) time.Time {
	pace, ok := demandPace[r.class]
	if demand.Forced && !ok {
		pace, ok = forcedPace, true
	}
	if at := r.started.Add(pace); ok && demand.Dials && at.Before(r.next) {
		return at
	}
	return r.next
}

// record returns the record of a key. The caller holds mu.
func (l *Limiter) record(key Key) *record {
	r := l.records[key]
	if r == nil {
		for k, old := range l.records {
			if !old.alone && time.Since(old.touched) > memory && time.Since(old.next) > memory {
				delete(l.records, k)
			}
		}
		r = &record{touched: time.Now()}
		l.records[key] = r
	}
	return r
}

// shared are the records that a login shares with others, as far as there are any. The
// caller holds mu.
func (l *Limiter) shared(login Login) []*record {
	var records []*record
	for _, key := range login.keys() {
		if r := l.records[key]; r != nil {
			records = append(records, r)
		}
	}
	return records
}

// failures counts those that a login has shared so far. The caller holds mu.
func (l *Limiter) failures(login Login) (n int) {
	for _, r := range l.shared(login) {
		n += r.total
	}
	return n
}

// Failed records a failed attempt and returns how many there were in a row and the
// delay before the next.
func (l *Limiter) Failed(login Login, f Failure, d Delay) (n int, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	class := failure.ClassOf(f.Err)
	key := login.keyOf(f.Err)
	r := l.record(key)
	if f.Forced || class != r.class {
		r.n = 0
	}
	r.n++
	r.total++
	r.class, r.err, r.started, r.stamp = class, f.Err, f.Started, f.Stamps[key]
	r.touched, r.accepted = time.Now(), false
	r.next = r.touched.Add(d.after(pace(class, f.Served), r.n))
	return r.n, time.Until(l.due(login, Demand{}))
}

// Succeeded records that a login was accepted, and wakes all who wait for that. How
// often connections were lost is forgotten once one has lasted; see Lost.
func (l *Limiter) Succeeded(login Login) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waited := false
	for _, key := range login.keys() {
		r := l.record(key)
		waited = waited || r.err != nil
		switch {
		case key != login.Reach:
			r.reset()
			r.accepted = true
		case r.err != nil:
			r.err, r.next = nil, time.Time{}
		}
		r.touched = time.Now()
	}
	if !waited {
		return
	}
	for wake := range l.wakes {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// Lost records that a connection was lost after it had lasted for a time, and sets
// when the next attempt is due, given whether others serve.
func (l *Limiter) Lost(login Login, lasted time.Duration, d Delay, served bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.record(login.Reach)
	now := time.Now()
	if lasted >= Settled {
		r.reset()
		r.started = now.Add(-lasted)
		// Many tunnels lose their connections at once when a bastion restarts.
		r.next = now.Add(time.Duration(rand.Float64() * float64(d.Min))) //nolint:gosec // no secret
		return
	}
	if r.class != failure.ClassNetwork {
		r.n = 0
	}
	r.n++
	r.class, r.err, r.started, r.touched = failure.ClassNetwork, nil, now.Add(-lasted), now
	r.next = now.Add(d.after(pace(failure.ClassNetwork, served), r.n))
}

// Ended records that the server has ended a connection that nothing used. The next
// attempt is due at once: whether it succeeds tells why that was.
func (l *Limiter) Ended(login Login) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record(login.Reach).reset()
}

// Last returns how the last attempt has failed, or nil.
func (l *Limiter) Last(login Login) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var last *record
	for _, r := range l.shared(login) {
		if r.err != nil && (last == nil || !r.touched.Before(last.touched)) {
			last = r
		}
	}
	if last == nil {
		return 0, nil
	}
	return last.n, last.err
}

// Due returns when the next attempt may start, and whether the last was refused: then
// a change of files makes the next due at once.
func (l *Limiter) Due(login Login, demand Demand) (at time.Time, refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.shared(login) {
		refused = refused || r.err != nil && r.class == failure.ClassRefused
	}
	return l.due(login, demand), refused
}

// due is Due for callers that hold mu.
func (l *Limiter) due(login Login, demand Demand) (at time.Time) {
	for _, r := range l.shared(login) {
		if due := r.due(demand); due.After(at) {
			at = due
		}
	}
	return at
}

// WorthTrying reports whether an attempt may be made beside one for another host that is
// due: to ask again for what did not answer costs nobody anything.
func (l *Limiter) WorthTrying(login Login, demand Demand) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.worthTrying(login, demand)
}

// worthTrying is WorthTrying for callers that hold mu.
func (l *Limiter) worthTrying(login Login, demand Demand) bool {
	for _, r := range l.shared(login) {
		if r.class != failure.ClassNetwork && time.Now().Before(r.due(demand)) {
			return false
		}
	}
	return true
}

// FilesChanged forgets what was refused for files that have changed since, and tells
// whether there was any.
func (l *Limiter) FilesChanged(login Login, now Stamps) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, stamp := range now {
		r := l.records[key]
		if r != nil && r.err != nil && r.class == failure.ClassRefused && r.stamp != stamp {
			r.reset()
			changed = true
		}
	}
	return changed
}

// Postpone puts off the next attempt of all that share a record, for tests.
func (l *Limiter) Postpone(key Key, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.record(key)
	r.n, r.next = len(refusedSteps)+1, until
}

// Failures returns how many a login has shared so far.
func (l *Limiter) Failures(login Login) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failures(login)
}
