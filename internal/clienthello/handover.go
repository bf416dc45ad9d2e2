package clienthello

// handover.go finds the listener that takes the place of one that a
// reload closes, for connections that are not decided yet.
//
// The HTTP server that has accepted such a connection is no help: once it shuts
// down it hangs up instead of answering.

import (
	"net"
	"slices"
	"sync"
)

// listeners are the listeners of all listener wrappers.
var listeners listenerRegistry

// Register makes a listener known, so that connections of one that it
// replaces can be handed to it: to adopt, which treats them as if the listener had
// accepted them. adopt returns false if it can no longer do so. Unregister what this
// returns when the listener is closed.
func Register(addr net.Addr, owner any, adopt func(net.Conn) bool) *Place {
	return listeners.open(addr, owner, adopt)
}

// Unregister forgets a listener. It may still hand over connections.
func (l *Place) Unregister() { listeners.close(l) }

// listenerRegistry knows open listeners. Its zero value knows none.
type listenerRegistry struct {
	mu        sync.Mutex
	listeners []*Place // in the order in which they were opened
}

// Place is a listener in the registry.
type Place struct {
	network, address string
	// owner is the configuration that the listener belongs to.
	owner any
	// position is how many listeners of that configuration have wrapped the
	// socket before.
	position int
	adopt    func(net.Conn) bool
}

// open registers a listener. It is to be closed.
func (r *listenerRegistry) open(addr net.Addr, owner any, adopt func(net.Conn) bool) *Place {
	l := &Place{network: addr.Network(), address: addr.String(), owner: owner, adopt: adopt}
	r.mu.Lock()
	defer r.mu.Unlock()
	l.position = len(r.at(l, owner))
	r.listeners = append(r.listeners, l)
	return l
}

// close forgets a listener. It may still hand over connections.
func (r *listenerRegistry) close(l *Place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners = slices.DeleteFunc(r.listeners, func(other *Place) bool { return other == l })
}

// handOver gives a connection of a closed listener's to the one in its place.
// It returns false if there is none.
func (r *listenerRegistry) handOver(l *Place, conn net.Conn) bool {
	for {
		next := r.successor(l)
		if next == nil {
			return false
		}
		if next.adopt(conn) {
			return true
		}
		r.close(next)
	}
}

// successor returns the listener in l's place: that of the newest
// configuration with the same address and the same position, if it has as many.
func (r *listenerRegistry) successor(l *Place) *Place {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, newest := range slices.Backward(r.listeners) {
		if newest.owner != l.owner && newest.network == l.network && newest.address == l.address {
			all := r.at(l, newest.owner)
			return all[min(l.position, len(all)-1)]
		}
	}
	return nil
}

// at returns the listeners of a configuration at l's address. r.mu is held.
func (r *listenerRegistry) at(l *Place, owner any) (all []*Place) {
	for _, other := range r.listeners {
		if other.owner == owner && other.network == l.network && other.address == l.address {
			all = append(all, other)
		}
	}
	return all
}
