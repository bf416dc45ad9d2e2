package tunnel

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/metrics"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// crew is a pool with connections that are none, to see where channels would
// be placed.
func crew(lo, hi int, links ...*member) *pool {
	p := &pool{
		identity: identity{
			key: "crew", cfg: Config{Name: "test"}, counters: metrics.New("test"),
		},
		life:      life{held: true},
		workers:   workers{watching: true, woken: make(chan struct{}, 1)}, // nothing ends watching
		configs:   configs{set: Settings{MinConnections: lo, MaxConnections: hi}.withDefaults()},
		takeovers: takeovers{moved: make(chan struct{})},
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.forwards = remote.New(p.ctx, "test", forwarding{p}, &p.counters.Accepted)
	p.connector = connect.New(Config{Name: "test", Fallbacks: []string{"b.example:22"}}, nil, p.woken, p.attemptState, nil, nil)
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
func failAt(p *pool, h *host) connect.Failure {
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

func newTestMember(r role, channels, quiet int) *member {
	return &member{
		client: clientOn(noConn{}), draining: make(chan struct{}),
		role: r, channels: channels, quiet: quiet, shed: quiet > quietLimit, limit: maxChannels, used: time.Now(),
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
		max    int
		links  []*member
		class  Class
		want   int
		failed bool // an attempt to connect has, just now
		lacks  role
	}{
		{name: "the only one takes a request", max: 8, links: []*member{newTestMember(undecided, 0, 0)}, class: Request, want: 0},
		{name: "the only one takes a stream", max: 8, links: []*member{newTestMember(undecided, 0, 0)}, class: Stream, want: 0},
		{
			name: "a request where the fewest are quiet", max: 8,
			links: []*member{newTestMember(forRequests, 10, 9), newTestMember(forRequests, 60, 3), newTestMember(forStreams, 0, 0)},
			class: Request, want: 1,
		},
		{
			name: "else where the fewest are", max: 8,
			links: []*member{newTestMember(forRequests, 10, 3), newTestMember(forRequests, 9, 3)}, class: Request, want: 1,
		},
		{
			name: "a request does not wait for one of its own", max: 8,
			links: []*member{newTestMember(forStreams, 10, 3)}, class: Request, want: 0, lacks: forRequests,
		},
		{
			name: "nor where there are no more", max: 2,
			links: []*member{newTestMember(forStreams, 20, 3), newTestMember(forStreams, 10, 3)}, class: Request, want: 1, lacks: forRequests,
		},
		{
			name: "a request beside full ones", max: 2,
			links: []*member{newTestMember(forRequests, maxChannels, 0), newTestMember(forStreams, 10, 3)}, class: Request, want: 1, lacks: forRequests,
		},
		{
			name: "streams fill one after the other", max: 8,
			links: []*member{newTestMember(forRequests, 0, 0), newTestMember(forStreams, 3, 0), newTestMember(forStreams, easyChannels-1, 0)},
			class: Stream, want: 2,
		},
		{
			name: "then the next", max: 8,
			links: []*member{newTestMember(forRequests, 0, 0), newTestMember(forStreams, 3, 0), newTestMember(forStreams, easyChannels, 0)},
			class: Stream, want: 1,
		},
		{
			name: "then evenly", max: 8,
			links: []*member{newTestMember(forRequests, 0, 0), newTestMember(forStreams, easyChannels+1, 0), newTestMember(forStreams, easyChannels, 0)},
			class: Stream, want: 2,
		},
		{
			name: "the first stream waits", max: 8,
			links: []*member{newTestMember(forRequests, 0, 0)}, class: Stream, want: wait, lacks: forStreams,
		},
		{
			name: "unless it would be in vain", max: 8, failed: true,
			links: []*member{newTestMember(forRequests, 0, 0)}, class: Stream, want: 0, lacks: forStreams,
		},
		{name: "or there is to be but one", max: 1, links: []*member{newTestMember(forRequests, 0, 0)}, class: Stream, want: 0, lacks: forStreams},
		{
			name: "streams wait for one more", max: 8,
			links: []*member{newTestMember(forRequests, 0, 0), newTestMember(forStreams, maxChannels, 0)}, class: Stream, want: wait, lacks: forStreams,
		},
		{
			name: "unless there can be no more", max: 2,
			links: []*member{newTestMember(forRequests, 0, 0), newTestMember(forStreams, maxChannels, 0)}, class: Stream, want: full, lacks: forStreams,
		},
		{
			name: "or the one to come is for requests", max: 2,
			links: []*member{newTestMember(forStreams, maxChannels, 0)}, class: Stream, want: full, lacks: forStreams,
		},
		{
			name: "or none can be had", max: 8, failed: true,
			links: []*member{newTestMember(forRequests, 0, 0), newTestMember(forStreams, maxChannels, 0)}, class: Stream, want: full, lacks: forStreams,
		},
		{
			name: "one of two for requests is given up", max: 3,
			links: []*member{newTestMember(forRequests, 9, 1), newTestMember(forRequests, 3, 2), newTestMember(forStreams, maxChannels, 0)},
			class: Stream, want: 1, lacks: forStreams,
		},
		{name: "one that is full", max: 1, links: []*member{newTestMember(forRequests, maxChannels, 0)}, class: Request, want: full, lacks: forRequests},
		{name: "full, but not for long", max: 2, links: []*member{newTestMember(forRequests, maxChannels, 0)}, class: Request, want: wait, lacks: forRequests},
		{name: "none", max: 8, class: Request, want: wait},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := crew(1, c.max, c.links...)
			if c.failed {
				failAt(p, p.hosts[0])
			}
			m, err := p.place(placementOf(c.class))
			switch _, isFull := errors.AsType[*FullError](err); {
			case c.want >= 0 && (m != c.links[c.want] || err != nil):
				t.Errorf("placed on %+v, %v", m, err)
			case c.want == wait && (m != nil || err != nil):
				t.Errorf("did not wait, but got %+v, %v", m, err)
			case c.want == full && !isFull:
				t.Errorf("got %+v, %v, want a FullError", m, err)
			}
			if lacks := [roles]bool{}; c.lacks != undecided {
				if lacks[c.lacks] = true; p.growth.lacks != lacks {
					t.Errorf("it lacks %v, want %v", p.growth.lacks, lacks)
				}
			}
		})
	}
}

// TestPlaceDecides: the first channel decides what a tunnel's only connection
// is for, and a mere wait for the connection does not.
func TestPlaceDecides(t *testing.T) {
	t.Parallel()
	for class, want := range map[Class]role{Request: forRequests, Stream: forStreams, anyClass: undecided} {
		p := crew(1, 8, newTestMember(undecided, 0, 0))
		m, err := p.pick(t.Context(), placementOf(class))
		if err != nil || m.role != want || m.channels != 1 {
			t.Errorf("class %d: %+v, %v", class, m, err)
		}
	}
}

func TestGrowth(t *testing.T) {
	t.Parallel()
	easy := easyChannels
	for _, c := range []struct {
		name     string
		min, max int
		links    []*member
		lacks    role
		want     role
	}{
		{"no connection is not growth", 2, 8, nil, undecided, undecided},
		{"one will do", 1, 8, []*member{newTestMember(forRequests, 50, 50)}, undecided, undecided},
		{"the least number is for both", 2, 8, []*member{newTestMember(undecided, 0, 0)}, undecided, forStreams},
		{"and then for requests", 3, 8, []*member{newTestMember(forRequests, 0, 0), newTestMember(forStreams, 0, 0)}, undecided, forRequests},
		{"a first stream", 1, 8, []*member{newTestMember(forRequests, 0, 0)}, forStreams, forStreams},
		{"a first request", 1, 8, []*member{newTestMember(forStreams, 0, 0)}, forRequests, forRequests},
		{"but only one", 1, 1, []*member{newTestMember(forRequests, 0, 0)}, forStreams, undecided},
		{"many quiet ones", 1, 8, []*member{newTestMember(forRequests, 80, quietLimit+1)}, undecided, forRequests},
		{"another has fewer", 1, 8, []*member{newTestMember(forRequests, 80, quietLimit+1), newTestMember(forRequests, 80, quietLimit)}, undecided, undecided},
		{"many requests", 1, 8, []*member{newTestMember(forRequests, easy, 0)}, undecided, forRequests},
		{"the last is not for busy ones", 1, 2, []*member{newTestMember(forRequests, easy, 0)}, undecided, undecided},
		{"but for a first stream", 1, 2, []*member{newTestMember(forRequests, easy, 0)}, forStreams, forStreams},
		{"or away from quiet ones", 1, 2, []*member{newTestMember(forRequests, easy, quietLimit+1)}, undecided, forRequests},
		{"many streams", 1, 8, []*member{newTestMember(forStreams, easy, 0)}, undecided, forStreams},
		{"streams leave one to requests", 1, 2, []*member{newTestMember(forStreams, easy, 0)}, undecided, undecided},
		{"which comes when they do", 1, 2, []*member{newTestMember(forStreams, easy, 0)}, forRequests, forRequests},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := crew(c.min, c.max, c.links...)
			if c.lacks != undecided {
				p.growth.lacks[c.lacks] = true
			}
			if got, why := p.wantedRole(); got != c.want {
				t.Errorf("growth for %d (%s), want %d", got, why, c.want)
			}
		})
	}
}

// TestRebalance: the connection whose channels have become quiet is left to
// them, and the requests' pools are told.
func TestRebalance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		max   int
		links []*member
		want  []role
	}{
		{"alone", 8, []*member{newTestMember(forRequests, 80, 80)}, []role{forRequests}},
		{"beside a calm one", 8, []*member{newTestMember(forRequests, 80, 80), newTestMember(forRequests, 0, 0)}, []role{forStreams, forRequests}},
		{"beside one like it", 8, []*member{newTestMember(forRequests, 80, 80), newTestMember(forRequests, 80, 70)}, []role{forRequests, forRequests}},
		{"with room to grow", 3, []*member{newTestMember(forRequests, 80, 80), newTestMember(forStreams, fewChannels, 0)}, []role{forRequests, forStreams}},
		{"beside one for hardly a stream", 3, []*member{newTestMember(forRequests, 80, 80), newTestMember(forStreams, 1, 0)}, []role{forStreams, forRequests}},
		{"with none", 2, []*member{newTestMember(forRequests, 80, 80), newTestMember(forStreams, fewChannels, 0)}, []role{forStreams, forRequests}},
		{"with none and no better", 2, []*member{newTestMember(forRequests, 80, 80), newTestMember(forStreams, 60, 41)}, []role{forRequests, forStreams}},
		{"with one alone", 1, []*member{newTestMember(forRequests, 80, 80)}, []role{forRequests}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := crew(1, c.max, c.links...)
			p.rebalance()
			for i, m := range c.links {
				if m.role != c.want[i] {
					t.Errorf("connection %d is for %d, want %d", i, m.role, c.want[i])
				}
			}
			if moved := p.generation > 0; moved != (c.want[0] == forStreams) {
				t.Errorf("generation %d", p.generation)
			}
		})
	}
}

func TestCloseSpare(t *testing.T) {
	t.Parallel()
	idle := func(r role, channels int) *member {
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
		{"the last", 1, []*member{idle(forRequests, 0)}, -1},
		{"the least number", 2, []*member{idle(forRequests, 0), idle(forStreams, 0)}, -1},
		{"of two without channels", 1, []*member{idle(forRequests, 0), idle(forStreams, 0)}, 1},
		{"one that was used just now", 1, []*member{newTestMember(forRequests, 0, 0), newTestMember(forStreams, 0, 0)}, -1},
		{"one that would be missed", 1, []*member{newTestMember(forRequests, 1, 0), newTestMember(forStreams, easyChannels, 0), idle(forStreams, 0)}, -1},
		{"one that would be missed by requests", 1, []*member{newTestMember(forRequests, 80, quietLimit+1), idle(forRequests, 0)}, -1},
		{"one beside one with room", 1, []*member{newTestMember(forStreams, easyChannels, 0), newTestMember(forStreams, 1, 0), idle(forStreams, 0)}, 2},
		{"one with a channel", 1, []*member{newTestMember(forRequests, 0, 0), idle(forStreams, 1)}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := crew(c.min, 8, c.links...)
			p.growth.lacks[forStreams] = true // once
			p.closeSpare(time.Now())
			if r, why := p.wantedRole(); c.want >= 0 && r != undecided {
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

	// Of two that few requests are left for, one is freed of its pooled channels.
	few := []*member{newTestMember(forRequests, 9, 1), newTestMember(forRequests, 3, 2)}
	p := crew(1, 8, few...)
	now := time.Now()
	for _, after := range []time.Duration{0, spareAfter / 2, spareAfter} {
		if few[1].role != forRequests {
			t.Fatalf("set aside after %s", after)
		}
		p.closeSpare(now.Add(after))
	}
	if few[0].role != forRequests || few[1].role != forStreams {
		t.Errorf("roles %d and %d", few[0].role, few[1].role)
	}
}

// TestPlaceFreed: who waits for one more connection takes a place that becomes
// free meanwhile.
func TestPlaceFreed(t *testing.T) {
	t.Parallel()
	m := newTestMember(forRequests, maxChannels, 0)
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
	m := newTestMember(forRequests, fewChannels, 0)
	p := crew(1, 8, m)
	p.limit([]suspect{{m, fewChannels, time.Now()}})
	p.updateLoad(m)
	if m.limit != fewChannels {
		t.Fatalf("it takes %d channels", m.limit)
	}
	m.cappedAt = m.cappedAt.Add(-cappedFor)
	p.updateLoad(m)
	if m.limit != maxChannels {
		t.Errorf("it takes %d channels", m.limit)
	}

	// One that has opened a channel since is not full.
	m.opened = time.Now()
	p.limit([]suspect{{m, fewChannels, m.opened.Add(-time.Second)}})
	if m.limit != maxChannels {
		t.Errorf("it takes %d channels, though it has opened one", m.limit)
	}
}
