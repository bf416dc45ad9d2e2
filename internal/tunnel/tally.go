package tunnel

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// tallies are the counts of this process's tunnels.
var tallies = &tallyRegistry{tallies: map[string]*tally{}}

// tallyRegistry holds tallies by the name of their tunnel, for as long as there
// is an entry of that name.
type tallyRegistry struct {
	// mu guards tallies, and the refs of each.
	mu      sync.Mutex
	tallies map[string]*tally
}

// tally counts what happens to a tunnel. All entries of its name share it: a
// reload that changes where a tunnel connects begins an entry, and no count anew.
type tally struct {
	name string
	refs int

	// mu guards said.
	mu sync.Mutex
	// said is what is said only once.
	said map[string]bool

	// received and sent are bytes that went through channels, either way.
	received, sent atomic.Int64
	// accepts counts the channels that came in by remote forwards.
	accepts atomic.Int64
	// opens counts dials by their result, failures attempts to connect by their
	// cause, reconnects by their reason. All keys are there from the beginning.
	opens      map[openResult]*atomic.Int64
	failures   map[failure.Cause]*atomic.Int64
	reconnects map[reason]*atomic.Int64
	// handshakes is how long logins took that succeeded (see Attempt.login),
	// roundTrips how long the answers to keepalives did.
	handshakes, roundTrips prometheus.Observer
}

// get returns the tally of a tunnel's name, until put.
func (r *tallyRegistry) get(name string) *tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tallies[name]
	if t == nil {
		t = newTally(name)
		r.tallies[name] = t
	}
	t.refs++
	return t
}

func (r *tallyRegistry) put(t *tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.refs--; t.refs == 0 {
		delete(r.tallies, t.name)
		handshakeSeconds.DeleteLabelValues(t.name)
		roundTripSeconds.DeleteLabelValues(t.name)
	}
}

// all returns the tallies by name.
func (r *tallyRegistry) all() map[string]*tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.tallies)
}

func newTally(name string) *tally {
	return &tally{
		name: name, said: map[string]bool{},
		opens: counters(openResults), failures: counters(failure.Causes), reconnects: counters(reasons),
		handshakes: handshakeSeconds.WithLabelValues(name), roundTrips: roundTripSeconds.WithLabelValues(name),
	}
}

func counters[K comparable](keys []K) map[K]*atomic.Int64 {
	m := make(map[K]*atomic.Int64, len(keys))
	for _, k := range keys {
		m[k] = new(atomic.Int64)
	}
	return m
}

// reason is why a connection was made anew.
type reason string

const (
	reasonLost      reason = "lost"
	reasonRekey     reason = "rekey_limit"
	reasonCert      reason = "certificate"
	reasonPreferred reason = "preferred_host"
	reasonJump      reason = "proxy_jump"
	reasonForward   reason = "remote_forward"
	reasonStuck     reason = "stuck_channels"
	reasonRequested reason = "requested"
)

var reasons = []reason{reasonLost, reasonRekey, reasonCert, reasonPreferred, reasonJump, reasonForward, reasonStuck, reasonRequested}

// openResult is how a dial has ended.
type openResult string

const (
	resultOpened  openResult = "opened"
	resultDown    openResult = "tunnel_down"
	resultFull    openResult = "tunnel_full"
	resultTimeout openResult = "no_answer"
	resultOther   openResult = "other"
)

var openResults = append([]openResult{resultOpened, resultDown, resultFull, resultTimeout, resultOther},
	refusedResults()...)

// refusedResults are the results of dials that the bastion has refused.
func refusedResults() (results []openResult) {
	for _, r := range failure.OpenReasons() {
		results = append(results, openResult(r.Word()))
	}
	return results
}

// dialed counts a dial that ended with err.
func (t *tally) dialed(err error) { t.opens[resultOf(err)].Add(1) }

func resultOf(err error) openResult {
	if err == nil {
		return resultOpened
	}
	if refused, ok := errors.AsType[*failure.OpenError](err); ok {
		return openResult(refused.Reason.Word())
	}
	if _, ok := errors.AsType[*DownError](err); ok {
		return resultDown
	}
	if _, ok := errors.AsType[*FullError](err); ok {
		return resultFull
	}
	if _, ok := errors.AsType[*TimeoutError](err); ok {
		return resultTimeout
	}
	return resultOther
}

// connectFailed counts a failed attempt to connect.
func (t *tally) connectFailed(err error) { t.failures[failure.CauseOf(err)].Add(1) }

// reconnected counts a connection that was made anew.
func (t *tally) reconnected(why reason) { t.reconnects[why].Add(1) }

// shook counts a login.
func (t *tally) shook(took time.Duration) { t.handshakes.Observe(took.Seconds()) }

// first tells whether it is asked this for the first time.
func (t *tally) first(what string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := !t.said[what]
	t.said[what] = true
	return first
}
