// Package metrics counts what happens to tunnels, and collects the counts for Prometheus.
// It knows no tunnel but its name: what a tunnel is like at the moment, it asks for.
// Packages tunnel and pool import it.
package metrics

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// counts are those of this process's tunnels.
var counts = &registry{tunnels: map[string]*Counters{}}

// registry holds counters by the name of their tunnel, until nobody has them.
type registry struct {
	// mu guards tunnels, and the refs of each.
	mu      sync.Mutex
	tunnels map[string]*Counters
}

// Counters count what happens to a tunnel. All pools of its name share them: a reload
// that changes where a tunnel connects begins a pool, and no count anew.
type Counters struct {
	name string
	refs int

	// mu guards said.
	mu sync.Mutex
	// said is what is said only once.
	said map[string]bool

	// Received and Sent are bytes that went through channels, either way.
	Received, Sent atomic.Int64
	// Opened and Accepted count channels: ours, and those of remote forwards.
	Opened, Accepted atomic.Int64
	// Logins takes how long each login took that succeeded, RoundTrips how long each
	// answer to a keepalive did, in seconds.
	Logins, RoundTrips prometheus.Observer
}

// Get returns the counters of a tunnel's name, until Put.
func Get(name string) *Counters {
	r := counts
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.tunnels[name]
	if c == nil {
		c = New(name)
		r.tunnels[name] = c
	}
	c.refs++
	return c
}

// Put gives the counters back. With the last hold on them, the metrics of the tunnel end.
func (c *Counters) Put() {
	r := counts
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
func (r *registry) all() map[string]*Counters {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.tunnels)
}

// New returns counters of their own, which need no Put.
func New(name string) *Counters {
	return &Counters{
		name: name, said: map[string]bool{},
		Logins: handshakeSeconds.WithLabelValues(name), RoundTrips: roundTripSeconds.WithLabelValues(name),
	}
}

// Dialed counts a dial, by how it ended.
func (c *Counters) Dialed(result string) { opens.WithLabelValues(c.name, result).Inc() }

// ConnectFailed counts a failed attempt to connect, by its cause.
func (c *Counters) ConnectFailed(cause failure.Cause) {
	connectFailures.WithLabelValues(c.name, string(cause)).Inc()
}

// Reconnected counts a connection that was made anew, by the reason.
func (c *Counters) Reconnected(why string) { reconnects.WithLabelValues(c.name, why).Inc() }

// First reports whether it is asked this for the first time.
func (c *Counters) First(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.said[what]
	c.said[what] = true
	return first
}
