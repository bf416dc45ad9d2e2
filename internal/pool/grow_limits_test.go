package pool

import (
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestLeastNumberUnused: connections that the bastion closes for want of
// channels are not made up for over and over.
func TestLeastNumberUnused(t *testing.T) {
	t.Parallel()
	set := quick()
	set.MinConnections = 2
	b := newBench(t, set, nil)
	c := openOf(t, b.Pool, Request, listen(t, echo))
	roundTrip(t, c)
	for n := range 2 {
		links := connections(t, b.Pool, 2)
		m := links[slices.IndexFunc(links, func(m *member) bool { return m != linkOf(c) })]
		b.mu.Lock()
		m.used = time.Now().Add(-2 * connlimit.Settled)
		b.mu.Unlock()
		if logins := b.bastion.Stats().Logins; logins != n+2 {
			t.Fatalf("%d logins, want %d", logins, n+2)
		}
		m.client.Close(io.EOF)
		sshtest.Eventually(t, 5*time.Second, "the loss", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return !slices.Contains(b.members, m)
		})
	}
	time.Sleep(200 * time.Millisecond) // it would be back by now
	connections(t, b.Pool, 1)
	roundTrip(t, c)
}

// TestFewerConnections: settings that allow fewer connections than there are
// have their way, and what goes on on the others goes on.
func TestFewerConnections(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	t.Parallel()
	set := quick()
	set.MinConnections = 5
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	connections(t, b.Pool, 5)
	var conns []*Conn
	for range 10 {
		conns = append(conns, openOf(t, b.Pool, Request, addr), openOf(t, b.Pool, Stream, addr))
	}
	generation := b.Generation()
	for _, most := range []int{3, 2, 1} {
		set.MinConnections, set.MaxConnections = 1, most
		b.Configure(most, set.WithDefaults())
		links := connections(t, b.Pool, most)
		b.mu.Lock()
		if streams := len(carrying(links, Stream)); most > 1 && streams != 1 {
			t.Errorf("%d of %d connections are for streams", streams, most)
		}
		b.mu.Unlock()
		if g := b.Generation(); g == generation {
			t.Error("the pools did not learn of it")
		}
	}
	for _, c := range conns {
		roundTrip(t, c)
		_ = c.Close()
	}
	sshtest.Eventually(t, 10*time.Second, "the end of all but one", func() bool { return len(b.bastion.Conns()) == 1 })
	for _, class := range []Class{Request, Stream} {
		roundTrip(t, openOf(t, b.Pool, class, addr))
	}
	if n := b.bastion.Stats().Logins; n != 5 {
		t.Errorf("%d logins", n)
	}
}

// TestLeastNumberShared: where all connections that there may be are there,
// streams have all but one, and requests those that streams leave.
func TestLeastNumberShared(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	t.Parallel()
	set := quick()
	set.MinConnections, set.MaxConnections = 4, 4
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	connections(t, b.Pool, 4)
	for _, class := range []Class{Stream, Request} {
		var conns []*Conn
		for range 2*easyChannels + 50 {
			conns = append(conns, openOf(t, b.Pool, class, addr))
		}
		links := connections(t, b.Pool, 4)
		b.mu.Lock()
		for _, m := range links {
			if m.channels > easyChannels {
				t.Errorf("class %d: %d channels on one connection", class, m.channels)
			}
		}
		if n := len(carrying(links, Stream)); class == Stream && n != 3 {
			t.Errorf("streams have %d connections", n)
		}
		b.mu.Unlock()
		other := openOf(t, b.Pool, Stream-class, addr)
		b.mu.Lock()
		if got, n := linkOf(other).carries, len(carrying(links, Stream)); got != Stream-class || class == Request && n != 1 {
			t.Errorf("class %d is on a connection for %d; %d are for streams", Stream-class, got, n)
		}
		b.mu.Unlock()
		_ = other.Close()
		for _, c := range conns {
			_ = c.Close()
		}
		sshtest.Eventually(t, 10*time.Second, "their end", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return !slices.ContainsFunc(links, func(m *member) bool { return m.channels > 0 })
		})
	}
}

// TestIdleBursts: what bursts of requests leave idle in the pools of several
// upstreams is quiet, too; pools that let go of it cost no connection.
func TestIdleBursts(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	for range 4 {
		generation := b.Generation()
		var conns []*Conn
		for range quietLimit + 1 {
			conns = append(conns, openOf(t, b.Pool, Request, addr))
		}
		becomeQuiet(b.Pool, linkOf(conns[0]))
		sshtest.Eventually(t, 5*time.Second, "the pools to learn of it", func() bool { return b.Generation() > generation })
		for _, c := range conns {
			_ = c.Close()
		}
		m := linkOf(conns[0])
		sshtest.Eventually(t, 5*time.Second, "the channels' end", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return m.channels == 0
		})
		b.updateLoad(m)
	}
	if n := b.bastion.Stats().Logins; n != 1 {
		t.Errorf("%d logins", n)
	}
}

// TestGrowthKeepsFailing: a bastion that lets no second connection in is not
// asked as often as one without which nothing works, and no stream waits for
// the outcome each time.
func TestGrowthKeepsFailing(t *testing.T) {
	t.Parallel()
	p := crew(1, 8, newTestMember(Request, 1, 0))
	for range 20 {
		p.recordFailures([]connect.Failure{failAt(p, p.failback.inUse)}, "")
		p.connectFailed(true)
	}
	if d := time.Until(p.retry.at); d < 2*connlimit.NetworkMax {
		t.Errorf("the next attempt is in %s", d)
	}
	limiter, login := p.hosts[0].Limiter, p.hosts[0].loginWith(p.set)
	limiter.Succeeded(login) // in place of waiting: the next one is due
	m, err := p.place(placementOf(Stream))
	if m == nil || err != nil || p.growth.lack[Stream] == "" {
		t.Errorf("a stream got %v, %v; it lacks %v", m, err, p.growth.lack)
	}

	// Lost ones of several are no different; the last is.
	for range 20 {
		limiter.Lost(login, 0, p.set.pace().Delay, true)
	}
	if due, _ := limiter.Due(login, connlimit.Demand{}); time.Until(due) < 2*connlimit.NetworkMax {
		t.Errorf("the next attempt is in %s", time.Until(due))
	}
	limiter.Lost(login, 0, p.set.pace().Delay, false)
	if due, _ := limiter.Due(login, connlimit.Demand{}); time.Until(due) > connlimit.NetworkMax {
		t.Errorf("without a connection the next attempt is in %s", time.Until(due))
	}
}

// TestSpareGoesBesideWaiter: a stream that waits for a connection of its own
// still gets one when a spare one goes meanwhile.
func TestSpareGoesBesideWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spare := newTestMember(Request, 0, 0)
		spare.used = time.Now().Add(-2 * spareAfter)
		p := crew(1, 8, newTestMember(Request, 1, 0), spare)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = p.pick(t.Context(), placementOf(Stream))
		}()
		lacks := func() bool {
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.growth.lack[Stream] != ""
		}
		if !lacks() {
			t.Error("the stream does not wait")
		}
		p.mu.Lock()
		p.closeSpare(time.Now())
		p.mu.Unlock()
		if !spare.isDraining() {
			t.Error("the spare one has stayed")
		}
		if !lacks() {
			t.Error("the stream does not ask again")
		}
		spare.drainTimer.Stop()
		<-ended
	})
}
