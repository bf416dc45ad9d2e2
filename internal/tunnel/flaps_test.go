package tunnel

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// comings are bastions that let us in, and do not stay.
var comings = []attack{
	{name: "lets in and hangs up", enough: 150, script: loggedIn(func(c *sshtest.MaliceConn) { c.Did(1) })},
	{name: "opens a channel towards us and hangs up", enough: 80, script: loggedIn(func(c *sshtest.MaliceConn) {
		_ = c.Send(sshtest.OpenChannel{Type: "x11", MaxPacket: 1 << 15})
		c.Did(1)
		_, _ = c.Next(92)
	})},
}

// TestComesAndGoes: a bastion that lets us in again and again does not fill the
// log.
func TestComesAndGoes(t *testing.T) {
	sshtest.Takes(t, 15*time.Second)
	for _, a := range comings {
		t.Run(a.name, func(t *testing.T) { withstand(t, a) })
	}
}

// TestFlaps: losses are told of while they are few; what is not told of is counted,
// and nobody is told that what he never heard of is over.
func TestFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		l := member(forRequests, 0, 0)
		l.wire = newWire(ours)
		defer l.wire.die(io.EOF)
		f := &flaps{}
		want := func(lasted time.Duration, level zapcore.Level, unlogged int) {
			t.Helper()
			if got, n := f.lost(lasted); got != level || n != unlogged {
				t.Errorf("level %v with %d unlogged, want %v with %d", got, n, level, unlogged)
			}
			if got := f.level(l, zap.InfoLevel); (got == zap.DebugLevel) != (level == zap.DebugLevel) {
				t.Errorf("what follows is told at %v", got)
			}
		}
		for range flapsLogged {
			want(time.Second, zap.WarnLevel, 0)
		}
		want(time.Second, zap.DebugLevel, 0)
		want(time.Second, zap.DebugLevel, 0)
		want(settled, zap.WarnLevel, 0)
		want(time.Second, zap.DebugLevel, 0)
		time.Sleep(settled)
		if got := f.level(l, zap.InfoLevel); got != zap.InfoLevel {
			t.Errorf("of a connection that has settled is told at %v", got)
		}
		time.Sleep(remindEvery)
		if level, n := f.lost(time.Second); level != zap.WarnLevel || n != 3 {
			t.Errorf("after a while, level %v with %d unlogged", level, n)
		}
	})
}

// TestFailureBetweenFlaps: after a failure that was told of, so is its end.
func TestFailureBetweenFlaps(t *testing.T) {
	var set Settings
	logs := observed(&set)
	e := crew(1, 1)
	e.set.Logger = set.Logger
	e.flaps.hushed.Store(true)
	h := e.hosts[0]
	h.failures = failureLog{}
	e.recordFailures([]hostFailure{{host: h, err: errors.New("connection refused")}}, nil)
	if e.flaps.hushed.Load() || logs.FilterLevelExact(zapcore.WarnLevel).Len() != 1 {
		t.Errorf("hushed after %v", logs.All())
	}
}
