package report

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
)

// Queue has the lines for the log, and the events for the observer, about a tunnel's
// connections. They are made in the order in which things happen, one after the other,
// and with no lock held: one that is slow holds up no connection but its own. The zero
// Queue is empty.
type Queue struct {
	// mu guards the fields below.
	mu      sync.Mutex
	waiting []func()
	// delivering says that somebody runs Deliver.
	delivering bool

	// limiter bounds the lines above debug, and quiet says that the last loss was
	// not among them, nor anything since: what follows from it is not, either.
	limiter loglimit.Limiter
	quiet   atomic.Bool
}

// lossesLogged is how many losses of connections that had only just been made
// are logged above debug in loglimit.Period. A bastion that lets us in and hangs
// up, again and again, does not fill the log.
const lossesLogged = 10

// LossLevel returns the level for the loss of the last connection, and how many losses
// before it were logged at debug only.
func (r *Queue) LossLevel(lasted time.Duration) (level zapcore.Level, unlogged int) {
	level = zapcore.WarnLevel
	if lasted < connlimit.Settled {
		level, unlogged = r.limiter.Level(level, "lost", lossesLogged)
	}
	r.quiet.Store(level < zapcore.WarnLevel)
	return level, unlogged
}

// FollowUp returns the level for what comes of a connection of some age.
func (r *Queue) FollowUp(own zapcore.Level, age time.Duration) zapcore.Level {
	if r.quiet.Load() && age < connlimit.Settled {
		return zapcore.DebugLevel
	}
	return own
}

// First reports whether what happens is the first of its kind in loglimit.Period: others
// are logged at debug only, or not at all.
func (r *Queue) First(kind string) bool {
	level, _ := r.limiter.Level(zapcore.WarnLevel, kind, 1)
	return level > zapcore.DebugLevel
}

// Logged notes that a line above debug was logged: what follows from it is logged, too.
func (r *Queue) Logged() { r.quiet.Store(false) }

// Add puts a report behind those that wait. Whoever adds one calls Deliver soon,
// without a lock.
func (r *Queue) Add(report func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, report)
}

// Deliver makes the reports that wait. If somebody else does already, it leaves
// them to them and returns at once.
func (r *Queue) Deliver() {
	for report := r.next(true); report != nil; report = r.next(false) {
		report()
	}
}

// next returns the report that is to be made now. It returns nil if there is none,
// or, to who begins, if somebody else makes them.
func (r *Queue) next(begin bool) func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if begin && r.delivering {
		return nil
	}
	r.delivering = len(r.waiting) > 0
	if !r.delivering {
		return nil
	}
	report := r.waiting[0]
	r.waiting = r.waiting[1:]
	return report
}
