package sshtunnel

// network_handover.go contains what happens when a configuration takes over an
// address on the bastion from the one before it. Caddy starts the new one, and
// stops the old right after that.

import (
	"context"
	"slices"
	"time"
)

const (
	// handOverTime is how long the configuration before goes on with the
	// connections that it has accepted. Without it they are lost: net/http drops
	// connections whose request it has not read when it is told to shut down.
	handOverTime = 100 * time.Millisecond
	// handOverConnect is how long the configuration before goes on serving while
	// a tunnel that has changed connects.
	handOverConnect = 2 * time.Second
)

// bindings returns the addresses that the configuration has listeners for.
func (a *App) bindings() (mine []binding) {
	bindings.Range(func(key, _ any) bool {
		if b := key.(binding); slices.Contains(a.opened, b.t) {
			mine = append(mine, b)
		}
		return true
	})
	return mine
}

// handOver waits until the configuration before may stop serving addresses that
// a new one listens on as well: once for all of them. It is called by whatever
// of it starts last, the tunnel or the listener.
//
// A tunnel that has not changed has one forward for both configurations, and
// the newer listener gets the connections already. One that has changed gets
// the address when the old one lets go of it, for which it has to be connected.
func handOver(taken ...binding) {
	ctx, cancel := context.WithTimeout(context.Background(), handOverConnect)
	defer cancel()
	shared := false
	for _, b := range taken {
		switch before := b.before(); {
		case before == nil:
		case before.h.Key() == b.t.h.Key():
			shared = true
		default:
			_ = b.t.h.Connect(ctx) // if it cannot, the address is lost, sooner or later
		}
	}
	if shared {
		time.Sleep(handOverTime)
	}
}

// before returns the tunnel of another configuration that serves the address,
// or nil.
func (b binding) before() (t *Tunnel) {
	bindings.Range(func(key, _ any) bool {
		other := key.(binding)
		if other.t != b.t && other.t.config.Name == b.t.config.Name && other.address == b.address {
			t = other.t
		}
		return t == nil
	})
	return t
}
