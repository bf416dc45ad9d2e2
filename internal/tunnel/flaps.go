package tunnel

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap/zapcore"
)

// flapsLogged is how many losses of connections that had only just been made are
// told of in remindEvery.
const flapsLogged = 10

// flaps keeps a bastion that lets us in and hangs up, again and again, from
// filling the log: there is no failed attempt, of which failureLog would know.
type flaps struct {
	// hushed tells that the last loss was not told of, nor anything since. What
	// follows from it is not to be told of either.
	hushed atomic.Bool

	// n is how many there were since. Both are for reports of entry.news, of which
	// there is one at a time.
	n     int
	since time.Time
}

// lost tells at which level to tell of a loss, and how many before it were told of
// at debug only.
func (f *flaps) lost(lasted time.Duration) (level zapcore.Level, unlogged int) {
	f.hushed.Store(false)
	if lasted >= settled {
		return zapcore.WarnLevel, 0
	}
	if time.Since(f.since) >= remindEvery {
		unlogged = max(0, f.n-flapsLogged)
		f.n, f.since = 0, time.Now()
	}
	if f.n++; f.n <= flapsLogged {
		return zapcore.WarnLevel, unlogged
	}
	f.hushed.Store(true)
	return zapcore.DebugLevel, 0
}

// level is at which level to tell what l brings about, if it were another's.
func (f *flaps) level(l *link, usual zapcore.Level) zapcore.Level {
	if f.hushed.Load() && l.wire.Now() < settled {
		return zapcore.DebugLevel
	}
	return usual
}
