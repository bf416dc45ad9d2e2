package forward

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// limitLogInterval is how often it is logged that there are too many
	// connections.
	limitLogInterval = time.Minute
	// failuresLogged is how many failures are errors in that time. Clients can
	// have more without end while the target is away, which are for debugging.
	failuresLogged = 10
)

// Count counts connections. Its zero value is ready to use.
type Count struct {
	mu      sync.Mutex
	open    int
	refused int       // since it was logged
	logged  time.Time // when that was

	failures int       // in the interval that began at since
	since    time.Time // zero before the first
}

// enter counts a connection in, unless there are limit already. A limit of
// zero is none.
func (c *Count) enter(limit int, logger *zap.Logger) bool {
	entered, refused := c.tryEnter(limit)
	if refused > 0 {
		logger.Warn("too many connections; refusing more", zap.Int("max_connections", limit), zap.Int("refused", refused))
	}
	return entered
}

// tryEnter is the part of enter that is done under mu. It returns how many were
// refused if the log is to say so now, or 0.
func (c *Count) tryEnter(limit int) (entered bool, refused int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit <= 0 || c.open < limit {
		c.open++
		return true, 0
	}
	c.refused++
	if now := time.Now(); now.Sub(c.logged) >= limitLogInterval {
		refused = c.refused
		c.refused, c.logged = 0, now
	}
	return false, refused
}

// failed returns the level to log a failure at, and with the first of an interval
// how many were not errors in the one before.
func (c *Count) failed() (level zapcore.Level, unlogged int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.since) >= limitLogInterval {
		unlogged = max(0, c.failures-failuresLogged)
		c.failures, c.since = 0, now
	}
	if c.failures++; c.failures > failuresLogged {
		return zap.DebugLevel, 0
	}
	return zap.ErrorLevel, unlogged
}

// leave counts a connection out.
func (c *Count) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

// Open returns how many connections are counted in.
func (c *Count) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}
