package forward

import (
	"sync"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
)

// failuresLogged is how many failures of a listener's are errors in loglimit.Period.
// Clients can have more without end while the target is away, which are for debugging.
const failuresLogged = 10

// Count counts connections. Its zero value is ready to use.
type Count struct {
	mu     sync.Mutex
	open   int
	logged loglimit.Limiter
}

// enter counts a connection in, unless there are limit already. A limit of
// zero is none.
func (c *Count) enter(limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limit > 0 && c.open >= limit {
		return false
	}
	c.open++
	return true
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
