package sshtunnel

// transport_generations.go moves pooled channels to the newest connection of a
// tunnel.

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// shedInterval is how often idle channels of an old generation are closed.
const shedInterval = time.Second

// generations sends each request through an http.Transport whose pooled
// channels belong to the newest connection of a tunnel. http.Transport never
// lets go of a busy keep-alive connection by itself; so when a new connection
// has taken over, requests go to a fresh one, and the old is emptied.
type generations struct {
	template *http.Transport // never used itself
	tunnel   dialer
	closing  chan struct{} // closed by close
	newest   atomic.Pointer[generation]

	mu     sync.Mutex // held while newest is replaced
	closed bool
}

// generation is an http.Transport for one generation of a tunnel.
type generation struct {
	*http.Transport
	number  uint64
	retired atomic.Bool // no longer the newest
}

func newGenerations(template *http.Transport, tun dialer) *generations {
	return &generations{template: template, tunnel: tun, closing: make(chan struct{})}
}

// RoundTrip implements http.RoundTripper.
func (g *generations) RoundTrip(req *http.Request) (*http.Response, error) {
	current := g.current()
	res, err := current.RoundTrip(req)
	if current.retired.Load() {
		// The last to leave turns off the light: a request makes the transport
		// keep its channel for a next one, which will not come.
		current.CloseIdleConnections()
	}
	return res, err
}

// current returns the transport for new requests.
func (g *generations) current() *generation {
	number := g.tunnel.Generation()
	if newest := g.newest.Load(); newest != nil && newest.number >= number {
		return newest
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.newest.Load()
	if old != nil && (old.number >= number || g.closed) {
		return old
	}
	fresh := &generation{Transport: g.clone(), number: number}
	// After close it serves what is still under way, and keeps nothing.
	fresh.retired.Store(g.closed)
	g.newest.Store(fresh)
	if old != nil {
		old.retired.Store(true)
		go g.shed(old, number)
	}
	return fresh
}

// clone returns a transport like the template, with an empty pool of its own.
func (g *generations) clone() *http.Transport {
	t := g.template.Clone()
	if _, ok := t.TLSNextProto["h2"]; ok {
		// A clone hands its HTTP/2 connections to the pool of its original.
		// As Caddy does, and with a type that it uses:
		//nolint:staticcheck // http.Protocols would treat "h2c" differently
		if err := http2.ConfigureTransport(t); err != nil {
			panic("configuring HTTP/2 anew: " + err.Error()) // only if done twice
		}
	}
	return t
}

// shed closes the idle channels of old, over and over since busy ones become
// idle. It returns when every connection older than generation number has
// drained, or on close.
func (g *generations) shed(old *generation, number uint64) {
	ticker := time.NewTicker(shedInterval)
	defer ticker.Stop()
	drained := g.tunnel.Drained(number)
	for {
		old.CloseIdleConnections()
		select {
		case <-ticker.C:
		case <-drained:
			old.CloseIdleConnections()
			return
		case <-g.closing:
			old.CloseIdleConnections()
			return
		}
	}
}

// close closes idle channels, now and when requests end. It is idempotent and
// does not wait. Requests may still be made.
func (g *generations) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		close(g.closing)
	}
	if newest := g.newest.Load(); newest != nil {
		newest.retired.Store(true)
		newest.CloseIdleConnections()
	}
}
