package sshtunnel

// transport_generations.go moves pooled channels to the newest connections of a
// tunnel, and keeps those of streams and of requests apart.

import (
	"cmp"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// generations sends each request through an http.Transport whose pooled
// channels belong to the newest connections of a tunnel. http.Transport never
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

func newGenerations(template *http.Transport, tun dialer) *generations {
	return &generations{template: template, tunnel: tun, closing: make(chan struct{})}
}

// RoundTrip implements http.RoundTripper.
func (g *generations) RoundTrip(req *http.Request) (*http.Response, error) {
	current := g.current()
	res, err := current.of(errandFrom(req.Context()).class).RoundTrip(req)
	if current.retired.Load() {
		// The last to leave turns off the light: a request makes the transport
		// keep its channel for a next one, which will not come. From now on the
		// channel is closed even if the body ends later.
		current.closeIdle()
	}
	if err == nil && res.ProtoMajor == 2 {
		// Not so with HTTP/2.
		res.Body = &pooledBody{res.Body, current}
	}
	return res, err
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
	if g.streams != g.requests {
		g.streams.CloseIdleConnections()
	}
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

	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.newest.Load()
	if old != nil && (old.number >= number || g.closed) {
		return old
	}
	fresh := g.fresh(number)
	// After close it serves what is still under way, and keeps nothing.
	fresh.retired.Store(g.closed)
	g.newest.Store(fresh)
	if old != nil {
		old.retired.Store(true)
		go g.shed(old, number)
	}
	return fresh
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

const (
	// shedInterval is how often idle channels of an old generation are closed,
	// at first. A takeover is to be over soon.
	shedInterval = time.Second

	// shedEvery is how often later, after shedFast times: a stream may keep an
	// old connection open for hours.
	shedEvery = 10 * time.Second
	shedFast  = 60
)

// shed closes the idle channels of old, over and over since those that late
// requests have used become idle. It returns when all channels older than
// generation number are closed, or on close.
func (g *generations) shed(old *generation, number uint64) {
	ticker := time.NewTicker(shedInterval)
	defer ticker.Stop()
	drained := g.tunnel.Drained(number)
	for n := 1; ; n++ {
		old.closeIdle()
		if n == shedFast {
			ticker.Reset(shedEvery)
		}
		select {
		case <-ticker.C:
		case <-drained:
			old.closeIdle()
			return
		case <-g.closing:
			old.closeIdle()
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
		newest.closeIdle()
	}
}
