package report

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
)

// TestFlaps: losses are logged while they are few; what is not logged is counted, and
// neither is what follows from it.
func TestFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Queue
		want := func(lasted time.Duration, level zapcore.Level, unlogged int) {
			t.Helper()
			if got, n := r.LossLevel(lasted); got != level || n != unlogged {
				t.Errorf("level %v with %d unlogged, want %v with %d", got, n, level, unlogged)
			}
			if got := r.FollowUp(zap.InfoLevel, time.Second); (got == zap.DebugLevel) != (level == zap.DebugLevel) {
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
		if got := r.FollowUp(zap.InfoLevel, connlimit.Settled); got != zap.InfoLevel {
			t.Errorf("what comes of a connection that has settled is logged at %v", got)
		}
		time.Sleep(loglimit.Period)
		want(time.Second, zap.WarnLevel, 3)
	})
}
