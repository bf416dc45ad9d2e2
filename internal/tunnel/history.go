package tunnel

import "time"

// history is what has happened to a tunnel, for its status. pool.mu guards it.
type history struct {
	// since is when there last was a first connection, or none any more, or else when
	// the pool was made.
	since time.Time
	// lostAt is when the last connection was lost, until there is another.
	lostAt time.Time
	// lastErr is what went wrong last, or nil.
	lastErr *ErrorStatus
	// unused is what is known of a bastion that ends connections without channels.
	unused unusedEnds
}

// lost records the loss of the last connection.
func (h *history) lost(now time.Time, why *ErrorStatus) {
	h.since, h.lostAt, h.lastErr = now, now, why
}
