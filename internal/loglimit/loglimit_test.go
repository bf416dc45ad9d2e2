package loglimit

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
)

func TestLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		want := func(kind string, burst int, level zapcore.Level, unlogged int) {
			t.Helper()
			if got, n := l.Level(zapcore.WarnLevel, kind, burst); got != level || n != unlogged {
				t.Errorf("%s: %v with %d unlogged, want %v with %d", kind, got, n, level, unlogged)
			}
		}
		want("lost", 2, zapcore.WarnLevel, 0)
		want("lost", 2, zapcore.WarnLevel, 0)
		want("lost", 2, zapcore.DebugLevel, 0)
		want("lost", 2, zapcore.DebugLevel, 0)
		want("refused", 1, zapcore.WarnLevel, 0)
		want("refused", 1, zapcore.DebugLevel, 0)
		time.Sleep(Period)
		want("lost", 2, zapcore.WarnLevel, 2)
		want("lost", 2, zapcore.WarnLevel, 0)

		l.Over()
		want("lost", 2, zapcore.DebugLevel, 0)
		time.Sleep(Again)
		want("lost", 2, zapcore.WarnLevel, 1)
	})
}

// TestOver: what comes and goes is logged now and then, and another occurrence is
// logged again.
func TestOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		logged := func() bool {
			level, _ := l.Level(zapcore.WarnLevel, "refused", 1)
			return level == zapcore.WarnLevel
		}
		n := 0
		for range 30 { // a minute
			if logged() {
				n++
			}
			l.Over()
			time.Sleep(2 * time.Second)
		}
		if n < 1 || n > 2 {
			t.Errorf("%d logged in a minute", n)
		}
		time.Sleep(Again)
		if !logged() || logged() {
			t.Error("another occurrence is not logged once")
		}
	})
}

// TestLevelKinds: a peer that has a new text each time fills neither the log nor the
// memory.
func TestLevelKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		logged := func() (n int) {
			for i := range 10 * maxKinds {
				if level, _ := l.Level(zapcore.WarnLevel, fmt.Sprint(i), 1); level == zapcore.WarnLevel {
					n++
				}
			}
			return n
		}
		if n := logged(); n != maxKinds || len(l.kinds) != maxKinds {
			t.Errorf("%d logged, %d kept", n, len(l.kinds))
		}
		if n := logged(); n != 0 {
			t.Errorf("%d logged again", n)
		}
		time.Sleep(Period)
		if n := logged(); n != maxKinds {
			t.Errorf("%d logged after a while", n)
		}
	})
}

// TestKind: errors that differ in numbers only are of one kind.
func TestKind(t *testing.T) {
	t.Parallel()
	a := Kind(errors.New("read tcp 192.0.2.1:40001->192.0.2.2:22: connection reset"))
	b := Kind(errors.New("read tcp 192.0.2.1:51234->192.0.2.2:22: connection reset"))
	if c := Kind(errors.New("no route to host")); a != b || a == c {
		t.Errorf("%q, %q and %q", a, b, c)
	}
}
