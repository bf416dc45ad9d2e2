package forward

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// limitLogInterval is how often it is logged that there are too many
// connections.
const limitLogInterval = time.Minute

// Count counts connections. Its zero value is ready to use.
type Count struct {
	mu      sync.Mutex
	open    int
	refused int       // since it was logged
	logged  time.Time // when that was
}

// enter counts a connection in, unless there are limit already. A limit of
// zero is none.
func (c *Count) enter(limit int, logger *zap.Logger) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit <= 0 || c.open < limit {
		c.open++
		return true
	}
	c.refused++
	if now := time.Now(); now.Sub(c.logged) >= limitLogInterval {
		logger.Warn("too many connections; refusing more", zap.Int("max_connections", limit), zap.Int("refused", c.refused))
		c.refused, c.logged = 0, now
	}
	return false
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
