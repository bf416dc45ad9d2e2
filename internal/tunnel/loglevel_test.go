package tunnel

import (
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestLogLevels: a change of state is said once, at info or as a warning, a
// refused host key is an error, and what concerns one channel is for debugging.
func TestLogLevels(t *testing.T) {
	t.Parallel()
	set := quick()
	logs := observed(&set)
	b := newBench(t, set, nil)
	c := mustDial(t, b.Handle, listen(t, echo))
	roundTrip(t, c)
	said := func(level zapcore.Level, message string, times int) {
		t.Helper()
		sshtest.Eventually(t, 10*time.Second, message, func() bool { return logs.FilterMessage(message).Len() >= times })
		if all, right := logs.FilterMessage(message), logs.FilterLevelExact(level).FilterMessage(message); all.Len() != times || right.Len() != times {
			t.Errorf("%q is logged %d times, %d times at %s; want %d", message, all.Len(), right.Len(), level, times)
		}
	}
	said(zapcore.InfoLevel, "connected", 1)
	said(zapcore.DebugLevel, "channel opened", 1)
	_ = c.Close()
	said(zapcore.DebugLevel, "channel closed", 1)
	b.link.Reset()
	said(zapcore.WarnLevel, "connection lost", 1)
	said(zapcore.InfoLevel, "reconnected", 1)

	b.link.Refuse()
	b.link.Reset()
	said(zapcore.WarnLevel, "connection lost", 2)
	failed := func(level zapcore.Level, cause failure.Cause, atLeast int) {
		t.Helper()
		sshtest.Eventually(t, 10*time.Second, string(cause), func() bool {
			n := 0
			for _, e := range logs.FilterMessage("connecting failed; will retry").All() {
				if e.ContextMap()["cause"] == string(cause) && e.Level == level {
					n++
				}
			}
			return n >= atLeast
		})
	}
	failed(zapcore.WarnLevel, failure.CauseRefused, 1)
	failed(zapcore.DebugLevel, failure.CauseRefused, 2) // the same again
	b.bastion.SetHostKeys(sshtest.NewKey())
	b.link.Accept()
	failed(zapcore.ErrorLevel, failure.CauseHostKeyMismatch, 1)
}
