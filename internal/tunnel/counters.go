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

// counts are those of this process's tunnels.
var counts = &countRegistry{tunnels: map[string]*counters{}}

// countRegistry holds counters by the name of their tunnel, for as long as there is an
// pool of that name.
type countRegistry struct {
	// mu guards tunnels, and the refs of each.
	mu      sync.Mutex
	tunnels map[string]*counters
}

// counters count what happens to a tunnel. All pools of its name share them: a reload
// that changes where a tunnel connects begins a pool, and no count anew.
type counters struct {
	name string
	refs int

	// mu guards said.
	mu sync.Mutex
	// said is what is said only once.
	said map[string]bool

	// received and sent are bytes that went through channels, either way.
	received, sent atomic.Int64
	// opened and accepted count channels: ours, and those of remote forwards.
	opened, accepted atomic.Int64
	// handshakes is how long logins took that succeeded (see connect.Attempt),
	// roundTrips how long the answers to keepalives did.
	handshakes, roundTrips prometheus.Observer
}

// get returns the counters of a tunnel's name, until put.
func (r *countRegistry) get(name string) *counters {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.tunnels[name]
	if c == nil {
		c = newCounters(name)
		r.tunnels[name] = c
	}
	c.refs++
	return c
}

func (r *countRegistry) put(c *counters) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.refs--; c.refs == 0 {
		delete(r.tunnels, c.name)
		for _, v := range vectors {
			v.DeletePartialMatch(prometheus.Labels{"tunnel": c.name})
		}
	}
}

// all returns the counters by name.
func (r *countRegistry) all() map[string]*counters {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.tunnels)
}

func newCounters(name string) *counters {
	return &counters{
		name: name, said: map[string]bool{},
		handshakes: handshakeSeconds.WithLabelValues(name), roundTrips: roundTripSeconds.WithLabelValues(name),
	}
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

// openResult is how a dial has ended.
type openResult string

const (
	resultOpened  openResult = "opened"
	resultDown    openResult = "tunnel_down"
	resultFull    openResult = "tunnel_full"
	resultTimeout openResult = "no_answer"
	resultOther   openResult = "other"
)

// dialed counts a dial that ended with err.
func (c *counters) dialed(err error) {
	if err == nil {
		c.opened.Add(1)
	}
	opens.WithLabelValues(c.name, string(resultOf(err))).Inc()
}

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
func (c *counters) connectFailed(err error) {
	connectFailures.WithLabelValues(c.name, string(failure.CauseOf(err))).Inc()
}

// reconnected counts a connection that was made anew.
func (c *counters) reconnected(why reason) {
	reconnects.WithLabelValues(c.name, string(why)).Inc()
}

// shook counts a login.
func (c *counters) shook(took time.Duration) { c.handshakes.Observe(took.Seconds()) }

// first reports whether it is asked this for the first time.
func (c *counters) first(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.said[what]
	c.said[what] = true
	return first
}
