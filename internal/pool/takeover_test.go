package pool

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

// TestOutlived: a connection that takes the place of one before the death of
// that has got about is a reconnect all the same, and that one was lost.
func TestOutlived(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	dead := newTestMember(Request, 1, 0)
	dead.client = clientOn(ours)
	dead.client.Close(io.EOF)
	p := crew(1, 8, dead)
	logs := observed(&p.set)
	p.set.Lazy = true // it need not connect

	fresh := newTestMember(anyClass, 0, 0)
	fresh.pool, fresh.host = p, p.failback.inUse
	msg, fields := p.takeOver(fresh)
	if msg != "reconnected" || len(fields) != 1 || fields[0].Key != "downtime" || fields[0].Type != zapcore.DurationType || time.Duration(fields[0].Integer) <= 0 {
		t.Errorf("%q, %v", msg, fields)
	}
	p.reportLost(dead, io.EOF)
	p.reports.Deliver()
	if n := logs.FilterMessage("connection lost").Len(); n != 1 {
		t.Errorf("it says %v", logs.All())
	}
}

// TestLostTogether: connections without channels that end in the same moment are
// no sign of a bastion that closes such connections.
func TestLostTogether(t *testing.T) {
	t.Parallel()
	links := []*member{newTestMember(Request, 0, 0), newTestMember(Stream, 0, 0), newTestMember(Stream, 0, 0)}
	p := crew(3, 8, slices.Clone(links)...)
	p.set.Lazy = true
	for _, m := range links {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		m.client = clientOn(ours)
		m.client.Close(io.EOF)
		m.used = time.Now().Add(-time.Minute)
	}
	for _, m := range links {
		if p.takeOut(m, io.EOF) {
			t.Error("the entry waits for a dial")
		}
	}
	if p.history.unused.idle == 0 || p.history.unused.onDemand {
		t.Errorf("it knows %+v", p.history.unused)
	}
}
