package tunnel

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// TestOutlived: a connection that takes the place of one before the death of
// that has got about is a reconnect all the same, and that one was lost.
func TestOutlived(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	dead := member(forRequests, 1, 0)
	dead.wire = wire.New(ours, stallAfter)
	dead.wire.Die(io.EOF)
	e := crew(1, 8, dead)
	logs := observed(&e.set)
	e.set.Lazy = true // it need not connect

	fresh := member(undecided, 0, 0)
	fresh.entry, fresh.host = e, e.inUse
	msg, fields := e.takeOver(fresh)
	if msg != "reconnected" || len(fields) != 1 || fields[0].Key != "downtime" || fields[0].Type != zapcore.DurationType || time.Duration(fields[0].Integer) <= 0 {
		t.Errorf("%q, %v", msg, fields)
	}
	e.reportLost(dead, io.EOF)
	e.news.deliver()
	if n := logs.FilterMessage("lost").Len(); n != 1 {
		t.Errorf("it says %v", logs.All())
	}
}

// TestOutageAfterSuccess: the log tells of a failure it has told of before if the
// tunnel has worked in between, and not each time of one that comes and goes.
func TestOutageAfterSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var set Settings
		logs := observed(&set)
		f := failureLog{}
		fail := func() { f.write(set.Logger, errors.New("connection refused"), 1, time.Second) }
		warnings := func() int { return logs.FilterLevelExact(zapcore.WarnLevel).Len() }
		for range 30 { // a minute of coming and going
			fail()
			f.succeeded()
			time.Sleep(2 * time.Second)
		}
		if n := warnings(); n < 1 || n > 2 {
			t.Errorf("%d warnings in a minute", n)
		}
		time.Sleep(remindAfter)
		before := warnings()
		fail()
		if warnings() != before+1 {
			t.Error("another outage was not told of")
		}
		fail()
		if warnings() != before+1 {
			t.Error("the same outage was told of twice")
		}
	})
}

// TestLostTogether: connections without channels that end in the same moment are
// no sign of a bastion that closes such connections.
func TestLostTogether(t *testing.T) {
	t.Parallel()
	links := []*link{member(forRequests, 0, 0), member(forStreams, 0, 0), member(forStreams, 0, 0)}
	e := crew(3, 8, slices.Clone(links)...)
	e.set.Lazy = true
	for _, l := range links {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		l.wire = wire.New(ours, stallAfter)
		l.wire.Die(io.EOF)
		l.used = time.Now().Add(-time.Minute)
	}
	for _, l := range links {
		if e.takeOut(l, io.EOF) {
			t.Error("the entry waits for a dial")
		}
	}
	if e.unused.idle == 0 || e.unused.onDemand {
		t.Errorf("it knows %+v", e.unused)
	}
}
