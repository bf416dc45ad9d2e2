package transport

// generations.go moves pooled channels to the newest connections of a
// tunnel, and keeps those of streams and of requests apart.

import (
	"cmp"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// generations sends each request through an http.Transport whose pooled
// channels belong to the newest connections of a tunnel. http.Transport never
// lets go of a busy keep-alive connection by itself; so when a new connection
// has taken over, requests go to a fresh one, and the old is emptied.
type generations struct {
	template *http.Transport // never used itself
	tunnel   dialer.Dialer
	closing  chan struct{} // closed by close
	newest   atomic.Pointer[generation]

	mu     sync.Mutex // held while newest is replaced
	closed bool
}

// generation has the http.Transports for one generation of a tunnel. There is
// one for each class of channels, since http.Transport may answer a request
// with any channel of its pool, or with one dialed for another request: a
// stream would stay on a connection that is for requests.
//
// With max_conns_per_host both are one and the same. Each would have a limit
// of its own otherwise; and below a common one a stream could wait for a channel
// that lies idle in the pool of the other. A channel then has the class of the
// request that it was dialed for. What the limit counts is up to http.Transport:
// not what has been upgraded, and not what still runs in an older generation.
type generation struct {
	requests, streams *http.Transport
	number            uint64
	retired           atomic.Bool // no longer the newest
}

func newGenerations(template *http.Transport, tun dialer.Dialer) *generations {
	return &generations{template: template, tunnel: tun, closing: make(chan struct{})}
}

// follow moves to each new generation when it comes, and not only with the next
// request: what is idle must not keep an old connection. It returns on close.
func (g *generations) follow() {
	for {
		number := uint64(0)
		if newest := g.newest.Load(); newest != nil {
			number = newest.number
		}
		select {
		case <-g.tunnel.Moved(number):
			g.current()
		case <-g.closing:
			return
		}
	}
}

// RoundTrip implements http.RoundTripper.
func (g *generations) RoundTrip(req *http.Request) (*http.Response, error) {
	return g.current().RoundTrip(req)
}

// RoundTrip implements http.RoundTripper.
func (g *generation) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := g.of(dialRequestFrom(req.Context()).class).RoundTrip(req)
	if g.retired.Load() {
		// The last to leave turns off the light: a request makes the transport
		// keep its channel for a next one, which will not come.
		g.closeIdle()
	}
	if err == nil && res.ProtoMajor == 2 {
		res.Body = &pooledBody{res.Body, g}
	}
	return res, err
}

// retire empties the pools. Channels in use are closed when they become idle:
// http.Transport sees to that itself for HTTP/1, until the next request.
func (g *generation) retire() {
	g.retired.Store(true)
	g.closeIdle()
}

// of returns the transport for a class.
func (g *generation) of(class tunnel.Class) *http.Transport {
	if class == tunnel.Stream {
		return g.streams
	}
	return g.requests
}

func (g *generation) closeIdle() {
	g.requests.CloseIdleConnections()
	g.streams.CloseIdleConnections()
}

// pooledBody is the body of an HTTP/2 response, at whose end the channel stays
// in the pool: it is closed if the generation has been retired meanwhile.
type pooledBody struct {
	io.ReadCloser
	from *generation
}

// Close implements io.Closer.
func (b *pooledBody) Close() error {
	err := b.ReadCloser.Close()
	if b.from.retired.Load() {
		b.from.closeIdle()
	}
	return err
}

// current returns the transport for new requests.
func (g *generations) current() *generation {
	number := g.tunnel.Generation()
	if newest := g.newest.Load(); newest != nil && newest.number >= number {
		return newest
	}

	current, old := g.succeed(number)
	if old != nil {
		old.retire()
	}
	return current
}

// succeed makes the generation of a number the newest, if that is older. It
// returns the newest, and the one before if it is to be retired.
func (g *generations) succeed(number uint64) (newest, old *generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old = g.newest.Load()
	if old != nil && (old.number >= number || g.closed) {
		return old, nil
	}
	newest = g.fresh(number)
	// After close it serves what is still under way, and keeps nothing.
	newest.retired.Store(g.closed)
	g.newest.Store(newest)
	return newest, old
}

// bufferSize is the default of read_buffer and write_buffer for requests. What
// is written at once fills a packet of the SSH connection, and what is read at
// once needs few window adjustments. Streams have http.Transport's 4 KiB: there
// may be thousands, and their messages are small.
const bufferSize = 32 << 10

// fresh returns a generation that is not in use yet.
func (g *generations) fresh(number uint64) *generation {
	requests := g.clone()
	requests.ReadBufferSize = cmp.Or(requests.ReadBufferSize, bufferSize)
	requests.WriteBufferSize = cmp.Or(requests.WriteBufferSize, bufferSize)
	streams := requests
	if g.template.MaxConnsPerHost <= 0 {
		streams = g.clone()
	}
	return &generation{requests: requests, streams: streams, number: number}
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

// close closes idle channels, now and when requests end. It is idempotent and
// does not wait. Requests may still be made.
func (g *generations) close() {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.closing)
	}
	newest := g.newest.Load()
	g.mu.Unlock()
	if newest != nil {
		newest.retire()
	}
}
