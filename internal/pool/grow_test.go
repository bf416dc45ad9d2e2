package pool

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialtimeout"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// openOf opens a channel of a class or fails the test.
func openOf(t *testing.T, h *Pool, class Class, addr string) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sshtest.Patience)
	defer cancel()
	c, err := h.Dial(ctx, Target{Network: "tcp", Address: addr, Class: class})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// connections waits until the tunnel has n connections, and returns them.
func connections(t *testing.T, h *Pool, n int) []*member {
	t.Helper()
	var links []*member
	sshtest.Eventually(t, 10*time.Second, "another number of connections", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		links = h.active()
		return len(links) == n
	})
	return links
}

// becomeQuiet makes a connection's channels look as if they had had no traffic
// for a while, and has the pool draw its conclusions.
func becomeQuiet(h *Pool, m *member) {
	h.updateLoad(m) // it has seen what there was
	h.mu.Lock()
	for _, a := range m.conns {
		a.since = time.Now().Add(-2 * quietAfter)
	}
	h.mu.Unlock()
	h.updateLoad(m)
}

// stayQuiet lets that go on although the pools know of it.
func stayQuiet(h *Pool, m *member) {
	h.mu.Lock()
	if !m.shedAt.IsZero() {
		m.shedAt = time.Now().Add(-2 * shedTime)
	}
	h.mu.Unlock()
	h.updateLoad(m)
}

// ownStream opens a stream on another connection than a request's. Where a login takes
// longer than streamPatience, the first streams share that, which ownStream closes.
func ownStream(t *testing.T, p *Pool, addr string, request *Conn) (stream *Conn) {
	t.Helper()
	m := linkOf(request)
	sshtest.Eventually(t, sshtest.Patience, "a stream on a connection of its own", func() bool {
		stream = openOf(t, p, Stream, addr)
		if linkOf(stream) != m {
			return true
		}
		_ = stream.Close()
		return false
	})
	sshtest.Eventually(t, sshtest.Patience, "the end of those that shared the request's", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return m.channels == 1
	})
	return stream
}

// TestApart: streams and requests have a connection each, whichever come
// first; those of one class alone share one.
func TestApart(t *testing.T) {
	t.Parallel()
	addr := listen(t, echo)
	for _, first := range []Class{Request, Stream} {
		b := newBench(t, quick(), nil)
		for range 50 {
			roundTrip(t, openOf(t, b.Pool, first, addr))
		}
		if n := b.bastion.Stats().Logins; n != 1 {
			t.Fatalf("50 channels of class %d have taken %d logins", first, n)
		}
		other := Stream - first
		roundTrip(t, openOf(t, b.Pool, other, addr))
		links := connections(t, b.Pool, 2)
		for range 50 {
			roundTrip(t, openOf(t, b.Pool, other, addr))
		}
		for _, c := range []Class{first, other} {
			roundTrip(t, openOf(t, b.Pool, c, addr))
		}
		b.mu.Lock()
		if links[0].carries != first || links[1].carries != other {
			t.Errorf("the connections are for %d and %d", links[0].carries, links[1].carries)
		}
		// A request did not wait for its own connection, nor did a stream for long.
		if n, m := links[0].channels, links[1].channels; n < 51 || n > 52 || m < 51 {
			t.Errorf("%d and %d channels", n, m)
		}
		b.mu.Unlock()
		if n := b.bastion.Stats().Logins; n != 2 {
			t.Errorf("%d logins", n)
		}
	}
}

// TestManyStreams: they spread over connections that come one at a time, and
// the requests' own stays theirs.
func TestManyStreams(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	t.Parallel()
	set := quick()
	set.MaxConnections = 3
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	request := openOf(t, b.Pool, Request, addr)
	roundTrip(t, request)
	conns := []*Conn{ownStream(t, b.Pool, addr, request)}
	for len(conns) < easyChannels+10 {
		conns = append(conns, openOf(t, b.Pool, Stream, addr))
	}
	links := connections(t, b.Pool, 3)
	for range easyChannels {
		conns = append(conns, openOf(t, b.Pool, Stream, addr))
	}
	b.mu.Lock()
	if n := links[0].channels; n != 1 {
		t.Errorf("the requests' connection has %d channels", n)
	}
	for _, m := range links[1:] {
		if m.carries != Stream || m.channels < easyChannels-10 {
			t.Errorf("a connection for %d has %d channels", m.carries, m.channels)
		}
	}
	b.mu.Unlock()
	for _, c := range conns {
		roundTrip(t, c)
	}
	if n := b.bastion.Stats().Logins; n != 3 {
		t.Errorf("%d logins", n)
	}

	// The error says in plain words that it is full, when waiting was in vain, and ends when there is
	// room.
	b.mu.Lock()
	for _, m := range links {
		m.limit, m.cappedAt = m.channels, time.Now()
	}
	b.mu.Unlock()
	dialStream := func() (*Conn, error) {
		ctx, cancel := dialtimeout.With(t.Context(), 100*time.Millisecond, errors.New("no answer"))
		defer cancel()
		return b.Dial(ctx, Target{Network: "tcp", Address: addr, Class: Stream})
	}
	_, err := dialStream()
	if full, ok := errors.AsType[*failure.FullError](err); !ok || full.Connections != 3 || !strings.Contains(err.Error(), "connections") {
		t.Fatalf("got %v", err)
	}
	_ = conns[0].Close()
	sshtest.Eventually(t, 5*time.Second, "room for a stream", func() bool {
		c, err := dialStream()
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// TestQuietChannels: requests go to a fresh connection when many of those on
// the one they have are quiet; fifty are not many.
func TestQuietChannels(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	var conns []*Conn
	for len(conns) < 50 {
		conns = append(conns, openOf(t, b.Pool, Request, addr))
		roundTrip(t, conns[len(conns)-1])
	}
	m := connections(t, b.Pool, 1)[0]
	becomeQuiet(b.Pool, m)
	for len(conns) <= quietLimit {
		conns = append(conns, openOf(t, b.Pool, Request, addr))
	}
	if n, gen := b.bastion.Stats().Logins, b.Generation(); n != 1 || gen != 0 {
		t.Fatalf("fifty quiet channels have taken %d logins, generation %d", n, gen)
	}

	// More are, but the pools may let go of them.
	becomeQuiet(b.Pool, m)
	told := b.Generation()
	if n := b.bastion.Stats().Logins; n != 1 || told == 0 {
		t.Fatalf("quiet channels have taken %d logins at once, generation %d", n, told)
	}

	stayQuiet(b.Pool, m)
	links := connections(t, b.Pool, 2)
	sshtest.Eventually(t, 5*time.Second, "the pools to learn of it", func() bool { return b.Generation() > told })
	roundTrip(t, openOf(t, b.Pool, Request, addr))
	b.mu.Lock()
	if m.channels != len(conns) || links[1].carries != Request || links[1].channels != 1 {
		t.Errorf("%+v and %+v", m, links[1])
	}
	b.mu.Unlock()

	// What is there goes on.
	for _, c := range conns {
		roundTrip(t, c)
	}
	if n := b.bastion.Stats().Logins; n != 2 {
		t.Errorf("%d logins", n)
	}
}

// TestGrowthFails: when the bastion lets nobody else in, streams share the
// connection there is and do not wait for each attempt; and the attempts keep
// their distance.
func TestGrowthFails(t *testing.T) {
	t.Parallel()
	set := quick()
	set.ReconnectMin, set.ReconnectMax = time.Minute, time.Hour
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	roundTrip(t, openOf(t, b.Pool, Request, addr))
	b.bastion.Misbehave(sshtest.Faults{Handshake: sshtest.HandshakeDrop})
	for range 20 {
		start := time.Now()
		roundTrip(t, openOf(t, b.Pool, Stream, addr))
		if d := time.Since(start); d > streamPatience+sshtest.Patience {
			t.Fatalf("a stream has waited %s", d)
		}
	}
	if n := b.bastion.Stats().Connects; n != 2 {
		t.Errorf("%d connects, want the first and one attempt", n)
	}
}

// TestGrowthHangs: streams wait for it a second, and requests not at all.
func TestGrowthHangs(t *testing.T) {
	sshtest.Takes(t, time.Second)
	t.Parallel()
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	roundTrip(t, openOf(t, b.Pool, Request, addr))
	b.bastion.Misbehave(sshtest.Faults{HoldAuth: true})
	defer b.bastion.Misbehave(sshtest.Faults{})
	start := time.Now()
	c := openOf(t, b.Pool, Stream, addr)
	if d := time.Since(start); d < streamPatience {
		t.Errorf("a stream has waited %s only", d)
	}
	roundTrip(t, c)
	if linkOf(c) != connections(t, b.Pool, 1)[0] {
		t.Error("it is on another connection")
	}
}

// TestOneOfSeveralLost: what is on the others does not notice.
func TestOneOfSeveralLost(t *testing.T) {
	t.Parallel()
	set := quick()
	logs := observed(&set)
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	request := openOf(t, b.Pool, Request, addr)
	roundTrip(t, request)
	stream := ownStream(t, b.Pool, addr, request)
	roundTrip(t, stream)
	linkOf(stream).client.Close(net.ErrClosed)
	_, err := stream.Read(make([]byte, 1))
	wantLost(t, err)
	roundTrip(t, request)
	roundTrip(t, openOf(t, b.Pool, Request, addr))
	roundTrip(t, openOf(t, b.Pool, Stream, addr))
	if n := logs.FilterMessage("reconnected").Len(); n != 0 {
		t.Error("the log tells of a downtime that was none")
	}
}

// TestSpareGoes: a connection above the least number goes when it has had no
// channel for a while; and comes again.
func TestSpareGoes(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	t.Parallel()
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	request := openOf(t, b.Pool, Request, addr)
	roundTrip(t, request)
	for range 2 {
		stream := ownStream(t, b.Pool, addr, request)
		roundTrip(t, stream)
		links := connections(t, b.Pool, 2)
		_ = stream.Close()
		m := links[slices.IndexFunc(links, func(m *member) bool { return m == linkOf(stream) })]
		sshtest.Eventually(t, 5*time.Second, "the stream's end", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			m.used = time.Now().Add(-2 * spareAfter)
			return m.channels == 0
		})
		b.updateLoad(m)
		connections(t, b.Pool, 1)
		sshtest.Eventually(t, 5*time.Second, "the bastion to see it go", func() bool { return len(b.bastion.Conns()) == 1 })
	}
}

// TestLeastNumber: it is there without traffic, after losses too, and settings
// that change it have their way.
func TestLeastNumber(t *testing.T) {
	t.Parallel()
	set := quick()
	set.MinConnections = 3
	b := newBench(t, set, nil)
	links := connections(t, b.Pool, 3)
	links[1].client.Close(net.ErrClosed)
	sshtest.Eventually(t, 10*time.Second, "a fourth login", func() bool { return b.bastion.Stats().Logins == 4 })
	connections(t, b.Pool, 3)

	set.MinConnections = 4
	b.Configure("another", set.WithDefaults())
	connections(t, b.Pool, 4)
}
