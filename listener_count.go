package sshtunnel

// listener_count.go keeps the count of a listener's connections through
// reloads, so that max_connections is about all there are.

import (
	"net"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// listenerCounts are the counts of all listeners, by countKey. A reload opens
// the new listener before it closes the old one, so the count stays.
var listenerCounts = caddy.NewUsagePool()

// countKey is what makes two listeners the same one over time.
type countKey struct {
	network, address string
	tunnel           string
	target           tunnel.Target
}

// listenerCount is a count in the pool.
type listenerCount struct{ forward.Count }

// Destruct implements caddy.Destructor. Connections go on without their
// listener, and count to the end.
func (*listenerCount) Destruct() error { return nil }

// countFor returns the count of the connections that a listener forwards to a
// target. Call release, as often as you like, when the listener is closed.
func countFor(addr net.Addr, tunnelName string, target tunnel.Target) (count *forward.Count, release func()) {
	key := countKey{addr.Network(), addr.String(), tunnelName, target}
	pooled, _, _ := listenerCounts.LoadOrNew(key, func() (caddy.Destructor, error) { return new(listenerCount), nil })
	release = sync.OnceFunc(func() { _, _ = listenerCounts.Delete(key) })
	return &pooled.(*listenerCount).Count, release
}
