package sshtest

import "sync"

// link_trips.go counts round trips by what could be an answer to what.

// trips are the turns that the peers of a Link have taken.
type trips struct {
	// mu guards the fields below.
	mu sync.Mutex
	// since counts the resets.
	since int
	// up and down are the last turns that have arrived, at the target and at the client.
	up, down int
}

// turn is how many times the peers have taken turns for some bytes to be sent.
type turn struct{ since, n int }

// CountTrips begins to count round trips, from what is sent from now on. The returned
// function returns how many there were: half of the longest chain of bytes of which each
// was sent after the one before had arrived at its sender. With a delay that is long beside
// what the peers take to answer, that is how often they waited for each other. It does not
// count TCP's own handshake, which is with the Link.
func (l *Link) CountTrips() (trips func() float64) {
	l.trips.reset()
	return l.trips.count
}

func (t *trips) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since++
	t.up, t.down = 0, 0
}

// count returns the round trips until what has arrived at the client.
func (t *trips) count() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return float64(t.down) / 2
}

// sent returns the turn of bytes that are sent in a direction.
func (t *trips) sent(way Direction) turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if way == Up {
		return turn{t.since, t.down + 1}
	}
	return turn{t.since, t.up + 1}
}

// arrives notes that bytes go to their receiver now.
func (t *trips) arrives(way Direction, sent turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case sent.since != t.since:
	case way == Up:
		t.up = max(t.up, sent.n)
	default:
		t.down = max(t.down, sent.n)
	}
}
