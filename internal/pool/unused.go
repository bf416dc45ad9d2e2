package pool

import "time"

// unused.go tells a bastion that ends connections without channels (sshd_config's
// UnusedConnectionTimeout) from one that restarts. The former does so each time
// after the same time without a channel, and lets us in again at once.

const (
	// unusedMost is the longest timeout that counts: to log in again once in so
	// long costs nobody anything.
	unusedMost = time.Hour
	// unusedSlack is how much two such times may differ. sshd counts in seconds.
	unusedSlack = 2 * time.Second
)

// unusedEnds is what is known of a bastion that ends connections without channels.
type unusedEnds struct {
	// idle is how long the last connection that it has ended had had no channel, or
	// 0, and at when that was.
	idle time.Duration
	at   time.Time
	// onDemand says that it does so each time: connections are made only for what
	// needs one.
	onDemand bool
}

// ended notes that the bastion has ended a connection of a certain age, which had
// had no channel for idle. It reports whether that is a timeout, as is known from
// now on.
func (u *unusedEnds) ended(now time.Time, age, idle time.Duration) bool {
	switch before := u.idle; {
	case idle > unusedMost:
		u.idle = 0
		return false
	case now.Add(-age).Before(u.at):
		return false // with the last one: the bastion may have restarted
	case before == 0 || now.Sub(u.at) > 2*unusedMost || (before-idle).Abs() > unusedSlack:
		u.idle, u.at = idle, now
		return false
	}
	u.idle, u.at = idle, now
	found := !u.onDemand
	u.onDemand = true
	return found
}

// failed notes that no connection could be made: what has ended the one before was
// no timeout.
func (u *unusedEnds) failed() {
	if !u.onDemand {
		*u = unusedEnds{}
	}
}

// lives notes that a connection without a channel for idle is still there.
func (u *unusedEnds) lives(idle time.Duration) {
	if u.idle > 0 && idle > u.idle+unusedSlack {
		*u = unusedEnds{}
	}
}
