package tunnel

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
)

// reports are the lines for the log, and the events for the observer, about a pool's
// connections. They are made in the order in which things happen, one after the other,
// and with no lock held: one that is slow holds up no connection but its own.
type reports struct {
	// mu guards the fields below.
	mu      sync.Mutex
	waiting []func()
	// delivering says that somebody runs deliver.
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

// lossLevel returns the level for the loss of the last connection, and how many losses
// before it were logged at debug only.
func (r *reports) lossLevel(lasted time.Duration) (level zapcore.Level, unlogged int) {
	level = zapcore.WarnLevel
	if lasted < connlimit.Settled {
		level, unlogged = r.limiter.Level(level, "lost", lossesLogged)
	}
	r.quiet.Store(level < zapcore.WarnLevel)
	return level, unlogged
}

// followUp returns the level for what comes of a connection of some age.
func (r *reports) followUp(own zapcore.Level, age time.Duration) zapcore.Level {
	if r.quiet.Load() && age < connlimit.Settled {
		return zapcore.DebugLevel
	}
	return own
}

// add puts a report behind those that wait. Whoever adds one calls deliver soon,
// without a lock.
func (r *reports) add(report func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, report)
}

// deliver makes the reports that wait. If somebody else does already, it leaves
// them to them and returns at once.
func (r *reports) deliver() {
	for report := r.next(true); report != nil; report = r.next(false) {
		report()
	}
}

// next returns the report that is to be made now. It returns nil if there is none,
// or, to who begins, if somebody else makes them.
func (r *reports) next(begin bool) func() {
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
