package pool

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/metrics"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// crew is a pool with connections that are none, to see where channels would
// be placed.
func crew(lo, hi int, links ...*member) *Pool {
	p := &Pool{
		identity: identity{
			cfg: connect.Config{Name: "test"}, counters: metrics.New("test"),
		},
		life:      life{held: true},
		workers:   workers{running: true, watching: true, woken: make(chan struct{}, 1)}, // nothing connects, or ends watching
		configs:   configs{set: Settings{MinConnections: lo, MaxConnections: hi}.WithDefaults()},
		takeovers: takeovers{moved: make(chan struct{})},
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.forwards = remote.New(p.ctx, "test", forwarding{p}, &p.counters.Accepted)
	p.connector = connect.New(connect.Config{Name: "test", Fallbacks: []string{"b.example:22"}}, nil, p.woken, p.attemptState, nil, nil)
	for _, h := range p.connector.Hosts() {
		h.Limiter = connlimit.New()
	}
	p.hosts = []*host{{Host: p.connector.Hosts()[0]}}
	p.failback.inUse = p.hosts[0]
	for _, m := range links {
		m.pool, m.host = p, p.failback.inUse
		m.client.SetOwner(m)
	}
	p.members = links
	return p
}

// failAt makes an attempt to connect to a host fail.
func failAt(p *Pool, h *host) connect.Failure {
	f := connect.Failure{Host: h.Host, Err: errors.New("no route to host"), Attempt: &connect.Attempt{Failed: connect.StepReach}}
	f.N, f.Delay = h.Limiter.Failed(h.loginWith(p.set), connlimit.Failure{
		Err: f.Err, Started: time.Now(), Served: len(p.activeMembers()) > 0,
	}, p.set.pace().Delay)
	return f
}

// noConn is a connection on which nothing happens.
type noConn struct{ net.Conn }

func (noConn) Close() error { return nil }

// clientOn is a client of a connection that serves nothing.
func clientOn(conn net.Conn) *sshconn.Client {
	return sshconn.New(wire.New(conn, sshconn.StallAfter), closer{}, sshconn.About{})
}

func newTestMember(r Class, channels, quiet int) *member {
	return &member{
		client: clientOn(noConn{}), draining: make(chan struct{}),
		carries: r, channels: channels, quiet: quiet, shed: quiet > quietLimit, limit: maxChannels, used: time.Now(),
		opens: newOpenLimiter(),
	}
}

// placementOf is what a dial of a class wants, now.
func placementOf(class Class) *placement {
	return &placement{line: lineKey{class: class, target: "web:80"}, arrived: time.Now()}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	const wait, full = -1, -2 // instead of a connection
	for _, c := range []struct {
		name   string
		min    int
		max    int
		links  []*member
		class  Class
		want   int
		failed bool // an attempt to connect has, just now
		lacks  string
	}{
		{name: "the only one takes a request", max: 8, links: []*member{newTestMember(anyClass, 0, 0)}, class: Request, want: 0},
		{name: "the only one takes a stream", max: 8, links: []*member{newTestMember(anyClass, 0, 0)}, class: Stream, want: 0},
		{
			name: "requests fill one after the other", max: 8,
			links: []*member{newTestMember(Request, 60, 9), newTestMember(Request, 10, 3), newTestMember(anyClass, 0, 0)},
			class: Request, want: 0,
		},
		{
			name: "but spread over those that there always are", min: 3, max: 8,
			links: []*member{newTestMember(Stream, 0, 0), newTestMember(Request, 60, 9), newTestMember(Request, 10, 3), newTestMember(anyClass, 0, 0)},
			class: Request, want: 3,
		},
		{
			name: "a request away from quiet ones", max: 8,
			links: []*member{newTestMember(Request, 100, 80), newTestMember(Request, 70, 3)}, class: Request, want: 1,
		},
		{
			name: "or else where the fewest are", max: 2,
			links: []*member{newTestMember(Request, 100, 80), newTestMember(Request, 90, 90)}, class: Request, want: 0,
		},
		{
			name: "a request does not wait for one of its own", max: 8,
			links: []*member{newTestMember(Stream, 10, 3)}, class: Request, want: 0, lacks: "requests beside streams",
		},
		{
			name: "nor where there are no more", max: 2,
			links: []*member{newTestMember(Stream, 20, 3), newTestMember(Stream, 10, 3)}, class: Request, want: 1,
		},
		{
			name: "a request beside full ones", max: 2,
			links: []*member{newTestMember(Request, maxChannels, 0), newTestMember(Stream, 10, 3)}, class: Request, want: 1,
		},
		{
			name: "one of many requests", max: 3,
			links: []*member{newTestMember(Request, easyChannels, 0)}, class: Request, want: 0, lacks: "many requests",
		},
		{
			name: "for which the last is not", max: 2,
			links: []*member{newTestMember(Request, easyChannels, 0)}, class: Request, want: 0,
		},
		{
			name: "streams fill one after the other", max: 8,
			links: []*member{newTestMember(Request, 0, 0), newTestMember(Stream, 3, 0), newTestMember(Stream, easyChannels-1, 0)},
			class: Stream, want: 2,
		},
		{
			name: "then the next", max: 8,
			links: []*member{newTestMember(Request, 0, 0), newTestMember(Stream, 3, 0), newTestMember(Stream, easyChannels, 0)},
			class: Stream, want: 1,
		},
		{
			name: "then one that is free", max: 8,
			links: []*member{newTestMember(anyClass, 0, 0), newTestMember(anyClass, 0, 0), newTestMember(Stream, easyChannels, 0)},
			class: Stream, want: 1,
		},
		{
			name: "then evenly", max: 8,
			links: []*member{newTestMember(Request, 0, 0), newTestMember(Stream, easyChannels+1, 0), newTestMember(Stream, easyChannels, 0)},
			class: Stream, want: 2, lacks: "many streams",
		},
		{
			name: "the first stream waits", max: 8,
			links: []*member{newTestMember(Request, 1, 0)}, class: Stream, want: wait, lacks: "streams beside requests",
		},
		{
			name: "unless it would be in vain", max: 8, failed: true,
			links: []*member{newTestMember(Request, 1, 0)}, class: Stream, want: 0, lacks: "streams beside requests",
		},
		{name: "or there is to be but one", max: 1, links: []*member{newTestMember(Request, 1, 0)}, class: Stream, want: 0},
		{
			name: "streams wait for one more", max: 8,
			links: []*member{newTestMember(Request, 1, 0), newTestMember(Stream, maxChannels, 0)}, class: Stream, want: wait, lacks: "streams beside requests",
		},
		{
			name: "unless there can be no more", max: 2,
			links: []*member{newTestMember(Request, 1, 0), newTestMember(Stream, maxChannels, 0)}, class: Stream, want: full,
		},
		{
			name: "or the free one is for requests", max: 2,
			links: []*member{newTestMember(anyClass, 0, 0), newTestMember(Stream, maxChannels, 0)}, class: Stream, want: full,
		},
		{
			name: "or the one to come is", max: 2,
			links: []*member{newTestMember(Stream, maxChannels, 0)}, class: Stream, want: full,
		},
		{
			name: "or none can be had", max: 8, failed: true,
			links: []*member{newTestMember(Request, 1, 0), newTestMember(Stream, maxChannels, 0)}, class: Stream, want: full, lacks: "streams beside requests",
		},
		{
			name: "requests give up one of two", max: 3,
			links: []*member{newTestMember(Request, 9, 1), newTestMember(Request, 3, 1), newTestMember(Stream, maxChannels, 0)},
			class: Stream, want: 1,
		},
		{
			name: "and the quiet one", max: 3,
			links: []*member{newTestMember(Request, 90, 80), newTestMember(Request, 3, 1), newTestMember(Stream, maxChannels, 0)},
			class: Stream, want: 0,
		},
		{name: "one that is full", max: 1, links: []*member{newTestMember(Request, maxChannels, 0)}, class: Request, want: full},
		{
			name: "full, but not for long", max: 2,
			links: []*member{newTestMember(Request, maxChannels, 0)}, class: Request, want: wait, lacks: "requests beside streams",
		},
		{name: "none", max: 8, class: Request, want: wait},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := crew(max(1, c.min), c.max, c.links...)
			if c.failed {
				failAt(p, p.hosts[0])
			}
			m, err := p.place(placementOf(c.class))
			switch _, isFull := errors.AsType[*failure.FullError](err); {
			case c.want >= 0 && (m != c.links[c.want] || err != nil):
				t.Errorf("placed on %+v, %v", m, err)
			case c.want == wait && (m != nil || err != nil):
				t.Errorf("did not wait, but got %+v, %v", m, err)
			case c.want == full && !isFull:
				t.Errorf("got %+v, %v, want a FullError", m, err)
			}
			if lacks := strings.Join(p.growth.lack[:], ""); lacks != c.lacks {
				t.Errorf("it lacks %q, want %q", lacks, c.lacks)
			}
		})
	}
}

// TestCarries: a connection carries the class of its first channel until it has none.
// A mere wait for the connection changes nothing, and a stream that shares one with
// requests leaves it to streams.
func TestCarries(t *testing.T) {
	t.Parallel()
	m := newTestMember(anyClass, 0, 0)
	p := crew(1, 1, m)
	for _, class := range []Class{anyClass, Request, Stream} {
		for range 2 {
			if got, err := p.pick(t.Context(), placementOf(class)); got != m || err != nil || m.carries != class {
				t.Errorf("class %d: %+v, %v", class, got, err)
			}
			if class == anyClass {
				p.channelEnded(m)
			}
		}
	}
	if _, err := p.pick(t.Context(), placementOf(Request)); err != nil || m.carries != Stream {
		t.Errorf("beside a stream: %+v, %v", m, err)
	}
	for m.channels > 0 {
		if m.carries != Stream {
			t.Errorf("it carries %d with %d channels", m.carries, m.channels)
		}
		p.channelEnded(m)
	}
	if m.carries != anyClass {
		t.Errorf("it carries %d without channels", m.carries)
	}

	// What a remote forward holds is of no class.
	m.Hold()
	if _, err := p.pick(t.Context(), placementOf(Request)); err != nil || m.carries != Request {
		t.Errorf("beside a forward: %+v, %v", m, err)
	}
	if p.channelEnded(m); m.carries != anyClass {
		t.Errorf("it carries %d with a forward alone", m.carries)
	}
}

// TestHostsToTry: a host that would refuse us again is tried if there is no other.
func TestHostsToTry(t *testing.T) {
	t.Parallel()
	p := crew(1, 1)
	h := p.hosts[0]
	for range 5 { // until it waits for minutes
		h.Limiter.Failed(h.loginWith(p.set), connlimit.Failure{
			Err: failure.New(failure.ClassRefused, failure.CauseKeyRefused, errors.New("refused")), Started: time.Now(),
		}, p.set.pace().Delay)
	}
	if h.Limiter.WorthTrying(h.loginWith(p.set), p.retry.demand) {
		t.Fatal("it is worth trying")
	}
	if try := p.hostsToTry(); len(try) != 1 || try[0] != h.Host {
		t.Errorf("got %v", try)
	}
}

func TestGrowth(t *testing.T) {
	t.Parallel()
	const nothing, least = "", "connections: the least number"
	for _, c := range []struct {
		name     string
		min, max int
		links    []*member
		lacks    Class
		want     string
	}{
		{"no connection is not growth", 2, 8, nil, anyClass, nothing},
		{"one will do", 1, 8, []*member{newTestMember(Request, 50, 50)}, anyClass, nothing},
		{"the least number", 2, 8, []*member{newTestMember(anyClass, 0, 0)}, anyClass, least},
		{"a first stream", 1, 8, []*member{newTestMember(Request, 0, 0)}, Stream, "why"},
		{"a first request", 1, 8, []*member{newTestMember(Stream, 0, 0)}, Request, "why"},
		{"but only one", 1, 1, []*member{newTestMember(Request, 0, 0)}, Stream, nothing},
		{"streams leave one to requests", 1, 2, []*member{newTestMember(Stream, 1, 0)}, Stream, nothing},
		{"which comes when they do", 1, 2, []*member{newTestMember(Stream, 1, 0)}, Request, "why"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := crew(c.min, c.max, c.links...)
			if c.lacks != anyClass {
				p.growth.lack[c.lacks] = "why"
			}
			if class, why := p.wantedClass(); why != c.want || class != anyClass {
				t.Errorf("growth for class %d (%s), want %q", class, why, c.want)
			}
		})
	}
}

// TestShedIdle: requests leave a connection whose channels stay quiet although the pools
// have let go of theirs, for another one or, if there is none, for one more.
func TestShedIdle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		max   int
		other *member // or nil
		moves bool
		grows bool
	}{
		{"alone", 2, nil, false, true},
		{"alone, and no other may be", 1, nil, false, false},
		{"beside a calm one", 3, newTestMember(Request, 70, quietLimit), true, false},
		{"beside a free one", 3, newTestMember(anyClass, 0, 0), true, false},
		{"beside streams", 3, newTestMember(Stream, 3, 0), false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newTestMember(Request, 80, quietLimit)
			links := []*member{m}
			if c.other != nil {
				links = append(links, c.other)
			}
			p := crew(1, c.max, links...)
			now := time.Now()
			p.shedIdle(m, now)
			if p.generation.Load() != 0 {
				t.Fatal("few quiet channels make pools let go")
			}
			m.quiet++
			p.shedIdle(m, now)
			told := p.generation.Load()
			if told == 0 || m.shed {
				t.Fatalf("generation %d, left at once: %v", told, m.shed)
			}
			if got, _ := p.place(placementOf(Request)); got != m {
				t.Error("requests leave at once")
			}
			p.shedIdle(m, now.Add(shedTime))
			if p.generation.Load() == told || !m.shed {
				t.Errorf("generation %d, left: %v", p.generation.Load(), m.shed)
			}
			_, why := p.wantedClass()
			if got, _ := p.place(placementOf(Request)); (got != m) != c.moves || (why != "") != c.grows {
				t.Errorf("a request moves: %v; growth: %q", got != m, why)
			}
			m.quiet = 0
			if p.shedIdle(m, now.Add(2*shedTime)); m.shed {
				t.Error("it is left for good")
			}
		})
	}
}

func TestCloseSpare(t *testing.T) {
	t.Parallel()
	idle := func(r Class, channels int) *member {
		m := newTestMember(r, channels, 0)
		m.used = time.Now().Add(-2 * spareAfter)
		return m
	}
	for _, c := range []struct {
		name  string
		min   int
		links []*member
		want  int // which is closed, or -1
	}{
		{"the last", 1, []*member{idle(anyClass, 0)}, -1},
		{"the least number", 2, []*member{idle(anyClass, 0), idle(anyClass, 0)}, -1},
		{"of two without channels", 1, []*member{idle(anyClass, 0), idle(anyClass, 0)}, 1},
		{"one that was used just now", 1, []*member{newTestMember(anyClass, 0, 0), newTestMember(anyClass, 0, 0)}, -1},
		{"one beside one with room", 1, []*member{newTestMember(Stream, easyChannels, 0), newTestMember(Stream, 1, 0), idle(anyClass, 0)}, 2},
		{"one with a channel", 1, []*member{newTestMember(Request, 0, 0), idle(Stream, 1)}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := crew(c.min, 8, c.links...)
			p.growth.lack[Stream] = "once"
			p.closeSpare(time.Now())
			if _, why := p.wantedClass(); c.want >= 0 && why != "" {
				t.Errorf("it would be back at once: %s", why)
			}
			for i, m := range c.links {
				if m.isDraining() != (i == c.want) {
					t.Errorf("connection %d drains: %v", i, m.isDraining())
				}
				if m.drainTimer != nil {
					m.drainTimer.Stop()
				}
			}
		})
	}
}

// TestPlaceFreed: who waits for one more connection takes a place that becomes
// free meanwhile.
func TestPlaceFreed(t *testing.T) {
	t.Parallel()
	m := newTestMember(Request, maxChannels, 0)
	p := crew(1, 8, m)
	p.running = true // an attempt to connect, which goes on and on
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	type placed struct {
		m   *member
		err error
	}
	done := make(chan placed, 1)
	go func() {
		got, err := p.pick(ctx, placementOf(Request))
		done <- placed{got, err}
	}()
	select {
	case got := <-done:
		t.Fatalf("placed on %+v, %v", got.m, got.err)
	case <-time.After(50 * time.Millisecond):
	}
	p.channelEnded(m)
	if got := <-done; got.m != m || got.err != nil || ctx.Err() != nil {
		t.Errorf("got %+v, %v, at the end of the time: %v", got.m, got.err, ctx.Err() != nil)
	}
}

// TestLimitEnds: how many channels a connection takes is learned anew, for what
// it was learned from may have been something else.
func TestLimitEnds(t *testing.T) {
	t.Parallel()
	m := newTestMember(Request, fewChannels, 0)
	p := crew(1, 8, m)
	m.limit, m.cappedAt = fewChannels, time.Now()
	p.updateLoad(m)
	if m.limit != fewChannels {
		t.Fatalf("it takes %d channels", m.limit)
	}
	m.cappedAt = m.cappedAt.Add(-cappedFor)
	p.updateLoad(m)
	if m.limit != maxChannels {
		t.Errorf("it takes %d channels", m.limit)
	}
}
