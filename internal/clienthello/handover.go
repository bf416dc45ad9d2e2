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

var (
	// placesMu guards places.
	placesMu sync.Mutex
	// places are the listeners of all listener wrappers, in the order in which they
	// were opened.
	places []*Place
)

// Place is where a listener listens.
type Place struct {
	network, address string
	// owner is the configuration that the listener belongs to.
	owner any
	// position is how many listeners of that configuration have wrapped the
	// socket before.
	position int
	adopt    func(net.Conn) bool
}

// Register makes a listener known, so that connections of one that it
// replaces can be handed to it: to adopt, which treats them as if the listener had
// accepted them. adopt returns false if it can no longer do so. Unregister what this
// returns when the listener is closed.
func Register(addr net.Addr, owner any, adopt func(net.Conn) bool) *Place {
	p := &Place{network: addr.Network(), address: addr.String(), owner: owner, adopt: adopt}
	placesMu.Lock()
	defer placesMu.Unlock()
	p.position = len(p.heldBy(owner))
	places = append(places, p)
	return p
}

// Unregister forgets a listener. It may still hand over connections.
func (p *Place) Unregister() {
	placesMu.Lock()
	defer placesMu.Unlock()
	places = slices.DeleteFunc(places, func(other *Place) bool { return other == p })
}

// handOver gives a connection of a closed listener's to the one in its place.
// It returns false if there is none.
func (p *Place) handOver(conn net.Conn) bool {
	for next := p.successor(); next != nil; next = p.successor() {
		if next.adopt(conn) {
			return true
		}
		next.Unregister()
	}
	return false
}

// successor returns the listener in p's place: that of the newest
// configuration with the same address and the same position, if it has as many.
func (p *Place) successor() *Place {
	placesMu.Lock()
	defer placesMu.Unlock()
	for _, newest := range slices.Backward(places) {
		if newest.owner != p.owner && newest.network == p.network && newest.address == p.address {
			all := p.heldBy(newest.owner)
			return all[min(p.position, len(all)-1)]
		}
	}
	return nil
}

// heldBy returns the listeners of a configuration at p's address. placesMu is held.
func (p *Place) heldBy(owner any) (all []*Place) {
	for _, other := range places {
		if other.owner == owner && other.network == p.network && other.address == p.address {
			all = append(all, other)
		}
	}
	return all
}
