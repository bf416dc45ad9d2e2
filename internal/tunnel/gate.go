package tunnel

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// gates are the bastions that this process connects to.
var gates = &gateRegistry{gates: map[string]*gate{}}

// gateMemory is how long failures are remembered after the last attempt, and
// after the last tunnel to a bastion is gone: longer than the longest delay, so
// that nobody gets around it by reloading.
const gateMemory = time.Hour

// gateRegistry holds gates by bastion and the way to it.
type gateRegistry struct {
	// mu guards the fields below, and the refs and unused of each gate.
	mu    sync.Mutex
	gates map[string]*gate
}

// get returns the gate of a bastion, until put. wake is what the gate sends to
// when what tunnels wait for may be over.
func (r *gateRegistry) get(where string, wake chan struct{}) *gate {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, g := range r.gates {
		if g.refs == 0 && time.Since(g.unused) > gateMemory {
			delete(r.gates, k)
		}
	}
	g := r.gates[where]
	if g == nil {
		g = newGate()
		r.gates[where] = g
	}
	g.refs++
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wakes[wake]++
	return g
}

// maxConnects is how many connects to a bastion may be under way. sshd refuses
// clients when there are more than 10 (MaxStartups), dropbear more than 5 from
// one address. With one at a time, the last of ten tunnels would wait for seconds
// where a round trip takes a tenth of one.
const maxConnects = 3

// gate limits the connects to a bastion by one way: a few at a time, of each
// tunnel one, and one at a time of those that have failed before. It remembers
// the failures, which all share that would fail for the same reason.
type gate struct {
	// refs and unused are guarded by gateRegistry.mu.
	refs   int
	unused time.Time

	// mu guards the fields below.
	mu sync.Mutex
	// connects counts those that are under way.
	connects int
	records  map[recordKey]*failures
	// changed is closed, and replaced, when a connect has ended.
	changed chan struct{}
	// wakes counts, for each channel, the hosts whose tunnels it wakes.
	wakes map[chan struct{}]int
}

func newGate() *gate {
	return &gate{records: map[recordKey]*failures{}, changed: make(chan struct{}), wakes: map[chan struct{}]int{}}
}

// failures is what went wrong since it last worked.
type failures struct {
	n     int
	class failure.Class
	// err is the last failure, or nil once an attempt has succeeded.
	err error
	// started is when the last attempt was, next when another is due.
	started, next time.Time
	// stamp is that of the files when they were last read.
	stamp string
	// accepted tells that an attempt has succeeded, and none was refused since.
	accepted bool
	// alone tells that the attempt under way is to be the only one.
	alone bool
	// total counts all failures, and is never reset. touched is when it last
	// changed.
	total   int
	touched time.Time
}

// forget starts anew.
func (f *failures) forget() {
	*f = failures{alone: f.alone, total: f.total, started: f.started, touched: time.Now()}
}

// due returns when the next attempt may start; see gate.nextDue.
func (f *failures) due(asked, demanded bool) time.Time {
	pace, ok := askedPace[f.class]
	if demanded && !ok {
		pace, ok = demandedPace, true
	}
	if ok && asked {
		return earlier(f.next, f.started.Add(pace))
	}
	return f.next
}

// put gives the gate back.
func (g *gate) put(wake chan struct{}) {
	gates.mu.Lock()
	defer gates.mu.Unlock()
	g.refs--
	g.unused = time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wakes[wake]--; g.wakes[wake] <= 0 {
		delete(g.wakes, wake)
	}
}

// errPostponed is why no attempt is made: another one has just failed for what
// this one would fail for.
var errPostponed = errors.New("another attempt has failed")

// turn is one connect's, until end.
type turn struct {
	gate  *gate
	alone []*failures
}

// enter waits for a connect's turn. It returns errPostponed if an attempt has
// failed meanwhile that this one shares the failure of.
func (g *gate) enter(ctx context.Context, l login, asked, demanded bool) (*turn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.worthTryingLocked(l, asked, demanded) {
		return nil, errPostponed
	}
	before := g.totalLocked(l)
	for {
		if g.totalLocked(l) != before {
			return nil, errPostponed
		}
		if t := g.admit(l); t != nil {
			return t, nil
		}
		if err := g.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wait waits until a connect has ended, or ctx. The caller holds mu, which is not
// held meanwhile.
func (g *gate) wait(ctx context.Context) error {
	changed := g.changed
	g.mu.Unlock()
	defer g.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// admit returns a turn, or nil if it is not one's turn. The caller holds mu.
func (g *gate) admit(l login) *turn {
	if g.connects >= maxConnects {
		return nil
	}
	t := &turn{gate: g}
	for _, key := range l.keys() {
		f := g.record(key)
		// Credentials that nobody has tried yet are tried once, not by all at once.
		if f.err == nil && (f.accepted || key != l.credentials) {
			continue
		}
		if f.alone {
			return nil
		}
		t.alone = append(t.alone, f)
	}
	for _, f := range t.alone {
		f.alone = true
	}
	g.connects++
	return t
}

// end gives the turn back. It is idempotent.
func (t *turn) end() {
	if t.gate == nil {
		return
	}
	g := t.gate
	t.gate = nil
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range t.alone {
		f.alone = false
	}
	g.connects--
	close(g.changed)
	g.changed = make(chan struct{})
}

// record returns the failures of a key. The caller holds mu.
func (g *gate) record(key recordKey) *failures {
	f := g.records[key]
	if f == nil {
		for k, old := range g.records {
			if !old.alone && time.Since(old.touched) > gateMemory && time.Since(old.next) > gateMemory {
				delete(g.records, k)
			}
		}
		f = &failures{touched: time.Now()}
		g.records[key] = f
	}
	return f
}

// shared are the records that a login shares with others, as far as there are
// any. The caller holds mu.
func (g *gate) shared(l login) []*failures {
	var records []*failures
	for _, key := range l.keys() {
		if f := g.records[key]; f != nil {
			records = append(records, f)
		}
	}
	return records
}

// totalLocked counts the failures that a login has shared so far. The caller
// holds mu.
func (g *gate) totalLocked(l login) (n int) {
	for _, f := range g.shared(l) {
		n += f.total
	}
	return n
}

// attemptFailed is an attempt that has failed.
type attemptFailed struct {
	err     error
	started time.Time
	// stamps are those of the files before they were read.
	stamps stamps
	// demanded tells that a person has demanded the attempt, and served that other
	// connections serve.
	demanded, served bool
}

// failed records a failed attempt and returns how many there were in a row and
// the delay before the next.
func (g *gate) failed(l login, a attemptFailed, set Settings) (n int, delay time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	class := failure.ClassOf(a.err)
	key := l.keyOf(a.err)
	f := g.record(key)
	if a.demanded || class != f.class {
		f.n = 0
	}
	f.n++
	f.total++
	f.class, f.err, f.started, f.stamp = class, a.err, a.started, a.stamps[key]
	f.touched, f.accepted = time.Now(), false
	f.next = f.touched.Add(backoff(patience(class, a.served), f.n, set))
	return f.n, time.Until(g.dueLocked(l, false, false))
}

// succeeded records that a login was accepted, and wakes all who wait for that.
// How often connections were lost is forgotten once one has lasted; see lost.
func (g *gate) succeeded(l login) {
	g.mu.Lock()
	defer g.mu.Unlock()
	waited := false
	for _, key := range l.keys() {
		f := g.record(key)
		waited = waited || f.err != nil
		switch {
		case key != l.reach:
			f.forget()
			f.accepted = true
		case f.err != nil:
			f.err, f.next = nil, time.Time{}
		}
		f.touched = time.Now()
	}
	if waited {
		g.wake()
	}
}

// wake wakes the tunnels. The caller holds mu.
func (g *gate) wake() {
	for c := range g.wakes {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// lost records that a connection was lost after it had lasted for a time, and
// sets when the next attempt is due, given whether others serve.
func (g *gate) lost(l login, lasted time.Duration, set Settings, served bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.record(l.reach)
	now := time.Now()
	if lasted >= settled {
		f.forget()
		f.started = now.Add(-lasted)
		// Many tunnels lose their connections at once when a bastion restarts.
		f.next = now.Add(time.Duration(rand.Float64() * float64(set.ReconnectMin))) //nolint:gosec // no secret
		return
	}
	if f.class != failure.ClassNetwork {
		f.n = 0
	}
	f.n++
	f.class, f.err, f.started, f.touched = failure.ClassNetwork, nil, now.Add(-lasted), now
	f.next = now.Add(backoff(patience(failure.ClassNetwork, served), f.n, set))
}

// ended records that the bastion has ended a connection that nothing used. The
// next attempt is due at once: whether it succeeds tells why that was.
func (g *gate) ended(l login) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.record(l.reach).forget()
}

// recorded returns how the last attempt has failed, or nil.
func (g *gate) recorded(l login) (n int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var last *failures
	for _, f := range g.shared(l) {
		if f.err != nil && (last == nil || !f.touched.Before(last.touched)) {
			last = f
		}
	}
	if last == nil {
		return 0, nil
	}
	return last.n, last.err
}

// lastError returns the failure that the next attempt waits for, or nil.
func (g *gate) lastError(l login) error {
	if at, _ := g.nextDue(l, false, false); !time.Now().Before(at) {
		return nil
	}
	_, err := g.recorded(l)
	return err
}

// nextDue returns when the next attempt may start, given whether dials ask for it,
// or a person demands it, and whether the last was refused: then a change of files
// makes the next due at once.
func (g *gate) nextDue(l login, asked, demanded bool) (at time.Time, refused bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.shared(l) {
		refused = refused || f.err != nil && f.class == failure.ClassRefused
	}
	return g.dueLocked(l, asked, demanded), refused
}

// dueLocked is nextDue for callers that hold mu.
func (g *gate) dueLocked(l login, asked, demanded bool) (at time.Time) {
	for _, f := range g.shared(l) {
		at = later(at, f.due(asked, demanded))
	}
	return at
}

// worthTrying tells whether an attempt may be made beside one for another host
// that is due: to ask again for what did not answer costs nobody anything.
func (g *gate) worthTrying(l login, asked, demanded bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.worthTryingLocked(l, asked, demanded)
}

// worthTryingLocked is worthTrying for callers that hold mu.
func (g *gate) worthTryingLocked(l login, asked, demanded bool) bool {
	for _, f := range g.shared(l) {
		if f.class != failure.ClassNetwork && time.Now().Before(f.due(asked, demanded)) {
			return false
		}
	}
	return true
}

// filesChanged forgets what was refused for files that have changed since, and
// tells whether there was any.
func (g *gate) filesChanged(l login, now stamps) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, stamp := range now {
		f := g.records[key]
		if f != nil && f.err != nil && f.class == failure.ClassRefused && f.stamp != stamp {
			f.forget()
			changed = true
		}
	}
	return changed
}
