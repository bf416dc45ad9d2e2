package tunnel

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// gates are the bastions that this process connects to.
var gates = &gateRegistry{gates: map[string]*gate{}}

// gateMemory is how long failures are remembered after the last tunnel to a
// bastion is gone: longer than the longest delay, so that nobody gets around
// it by reloading.
const gateMemory = 15 * time.Minute

// gateRegistry holds gates by bastion.
type gateRegistry struct {
	// mu guards the fields below, and the refs and unused of each gate.
	mu    sync.Mutex
	gates map[string]*gate
}

// get returns the gate of a bastion, until put.
func (r *gateRegistry) get(where string) *gate {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, g := range r.gates {
		if g.refs == 0 && time.Since(g.unused) > gateMemory {
			delete(r.gates, k)
		}
	}
	g := r.gates[where]
	if g == nil {
		g = &gate{turns: make(chan struct{}, maxConnects), records: map[string]*failures{}}
		r.gates[where] = g
	}
	g.refs++
	return g
}

// maxConnects is how many connects to a bastion may be under way. sshd refuses
// clients when there are more than 10 (MaxStartups), dropbear more than 5 from
// one address. With one at a time, the last of ten tunnels would wait for seconds
// where a round trip takes a tenth of one.
const maxConnects = 3

// gate stands before a bastion: it lets a few connects at a time pass, of each
// tunnel one, and remembers the failures of each.
type gate struct {
	// turns holds a token for each connect that is under way.
	turns chan struct{}

	// refs and unused are guarded by gateRegistry.mu.
	refs   int
	unused time.Time

	// mu guards records.
	mu      sync.Mutex
	records map[string]*failures
}

// failures is what went wrong for one tunnel, by its key, since it last worked.
type failures struct {
	n     int
	class failureClass
	err   error
	// started is when the last attempt was, next when another is due.
	started, next time.Time
	// stamp is that of the files when they were last read.
	stamp string
}

// put gives the gate back.
func (g *gate) put() {
	gates.mu.Lock()
	defer gates.mu.Unlock()
	g.refs--
	g.unused = time.Now()
}

// enter waits for this connect's turn. After it, leave must be called.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gate) leave() { <-g.turns }

// record returns the failures of a tunnel. The caller holds mu.
func (g *gate) record(key string) *failures {
	f := g.records[key]
	if f == nil {
		f = &failures{}
		g.records[key] = f
	}
	return f
}

// failed records a failed attempt and returns how many there were in a row and
// the delay before the next, given whether other connections serve.
func (g *gate) failed(key string, err error, started time.Time, stamp string, set Settings, served bool) (int, time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.record(key)
	class := classOf(err)
	if class != f.class {
		f.n = 0
	}
	f.n++
	f.class, f.err, f.started, f.stamp = class, err, started, stamp
	delay := backoff(patience(class, served), f.n, set)
	f.next = time.Now().Add(delay)
	return f.n, delay
}

// succeeded records that a tunnel is connected. Its failures are forgotten
// once that has lasted; see lost.
func (g *gate) succeeded(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.records[key]; f != nil {
		f.err, f.next = nil, time.Time{}
	}
}

// lost records that a tunnel's connection was lost after it had lasted for a
// time, and sets when the next attempt is due, given whether others serve.
func (g *gate) lost(key string, lasted time.Duration, set Settings, served bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.record(key)
	now := time.Now()
	if lasted >= settled {
		*f = failures{started: now.Add(-lasted)}
		// Many tunnels lose their connections at once when a bastion restarts.
		f.next = now.Add(time.Duration(rand.Float64() * float64(set.ReconnectMin))) //nolint:gosec // no secret
		return
	}
	if f.class != classNetwork {
		f.n = 0
	}
	f.n++
	f.class, f.started = classNetwork, now.Add(-lasted)
	f.next = now.Add(backoff(patience(classNetwork, served), f.n, set))
}

// recorded returns how the last attempt for a tunnel has failed, or nil.
func (g *gate) recorded(key string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.records[key]; f != nil {
		return f.err
	}
	return nil
}

// lastError returns the failure that a tunnel's next attempt waits for, or nil.
func (g *gate) lastError(key string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.records[key]; f != nil && time.Now().Before(f.next) {
		return f.err
	}
	return nil
}

// due returns when the next attempt may start, given whether dials ask for it,
// or a person demands it, and whether the last was refused: then a change of files
// makes the next due at once.
func (g *gate) due(key string, asked, demanded bool) (at time.Time, refused bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.records[key]
	if f == nil {
		return time.Time{}, false
	}
	at = f.next
	pace, ok := askedPace[f.class]
	if demanded && !ok {
		pace, ok = demandedPace, true
	}
	if ok && asked {
		if soon := f.started.Add(pace); soon.Before(at) {
			at = soon
		}
	}
	return at, f.class == classRefused
}

// worthTrying tells whether an attempt may be made beside one for another host
// that is due: to ask again for what did not answer costs nobody anything.
func (g *gate) worthTrying(key string, asked, demanded bool) bool {
	due, _ := g.due(key, asked, demanded)
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.records[key]
	return f == nil || f.class == classNetwork || !time.Now().Before(due)
}

// filesChanged tells whether the files have changed since an attempt that was
// refused.
func (g *gate) filesChanged(key, stamp string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.records[key]
	return f != nil && f.class == classRefused && f.stamp != stamp
}
