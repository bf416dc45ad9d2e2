package pool

import (
	"io"
	"testing"
)

// returning is a tunnel with connections to the second of its two hosts, that is
// about to return to the first. The test plays the part of maintain.
func returning(links ...*member) (p *Pool, first, second *host) {
	p = crew(1, 8, links...)
	first, second = p.hosts[0], &host{Host: p.connector.Hosts()[1]}
	p.hosts = append(p.hosts, second)
	p.failback.inUse = second
	for _, l := range links {
		l.host = second
	}
	p.running, p.failback.state = true, failbackWatching
	p.returnTo(first)
	return p, first, second
}

// arrive has a new connection to a host put into service.
func arrive(p *Pool, h *host) *member {
	m := newTestMember(anyClass, 1, 0)
	m.pool, m.host = p, h
	p.takeOver(m)
	return m
}

// staying are the connections that are to go on.
func staying(p *Pool) []*member {
	var links []*member
	for _, m := range p.active() {
		if m.state != memberReplacing {
			links = append(links, m)
		}
	}
	return links
}

// TestReturnHalfway: once a connection has returned to the preferred host, the
// others follow, though an attempt fails in between: there are none to two hosts
// that stay.
func TestReturnHalfway(t *testing.T) {
	t.Parallel()
	e, first, second := returning(newTestMember(Request, 1, 0), newTestMember(Stream, 1, 0))
	back := arrive(e, first)
	e.connectFailed(true)
	if got := staying(e); len(got) != 1 || got[0] != back {
		t.Errorf("%d connections stay, want the one that has returned", len(got))
	}
	if got := e.eligible(); len(got) != 1 || got[0] != first {
		t.Errorf("the next attempt is for %d hosts, the first of rank %d", len(got), got[0].Rank)
	}

	// It is lost, and there is no other to be had: what is left is the tunnel.
	back.client.Close(io.EOF)
	e.takeOut(back, io.EOF)
	e.connectFailed(true)
	if got := staying(e); len(got) != 1 || got[0].host != second || e.failback.inUse != second {
		t.Errorf("%d connections stay; the host of rank %d is in use", len(got), e.failback.inUse.Rank)
	}
	if got := e.eligible(); len(got) != 1 || got[0] != second {
		t.Errorf("the next attempt is for %d hosts, the first of rank %d", len(got), got[0].Rank)
	}
}

// TestReturnOvertaken: a connection that was under way to the other host when the
// return was decided on returns as well.
func TestReturnOvertaken(t *testing.T) {
	t.Parallel()
	e, first, second := returning(newTestMember(Request, 1, 0), newTestMember(Stream, 1, 0))
	arrive(e, second)
	for range 2 {
		if e.toReplace() == nil {
			t.Fatal("nothing is to be replaced any more")
		}
		arrive(e, first)
	}
	if len(e.active()) != 2 {
		t.Errorf("%d connections, want 2", len(e.active()))
	}
	for _, m := range e.active() {
		if m.host != first {
			t.Error("a connection to the other host stays")
		}
	}
}
