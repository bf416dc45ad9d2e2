package tunnel

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
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

// TestFlaps: losses are logged while they are few; what is not logged is counted, and
// neither is what follows from it.
func TestFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reports
		want := func(lasted time.Duration, level zapcore.Level, unlogged int) {
			t.Helper()
			if got, n := r.lossLevel(lasted); got != level || n != unlogged {
				t.Errorf("level %v with %d unlogged, want %v with %d", got, n, level, unlogged)
			}
			if got := r.followUp(zap.InfoLevel, time.Second); (got == zap.DebugLevel) != (level == zap.DebugLevel) {
				t.Errorf("what follows is logged at %v", got)
			}
		}
		for range lossesLogged {
			want(time.Second, zap.WarnLevel, 0)
		}
		want(time.Second, zap.DebugLevel, 0)
		want(time.Second, zap.DebugLevel, 0)
		want(connlimit.Settled, zap.WarnLevel, 0)
		want(time.Second, zap.DebugLevel, 0)
		if got := r.followUp(zap.InfoLevel, connlimit.Settled); got != zap.InfoLevel {
			t.Errorf("what comes of a connection that has settled is logged at %v", got)
		}
		time.Sleep(loglimit.Period)
		want(time.Second, zap.WarnLevel, 3)
	})
}

// TestFailureBetweenFlaps: after a failure that was logged, so is its end.
func TestFailureBetweenFlaps(t *testing.T) {
	var set Settings
	logs := observed(&set)
	p := crew(1, 1)
	p.set.Logger = set.Logger
	p.reports.quiet.Store(true)
	p.recordFailures([]connect.Failure{{Host: p.hosts[0].Host, Err: errors.New("connection refused")}}, "")
	if p.reports.quiet.Load() || logs.FilterLevelExact(zapcore.WarnLevel).Len() != 1 {
		t.Errorf("quiet after %v", logs.All())
	}
}
