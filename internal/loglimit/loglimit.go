// Package loglimit keeps what happens again and again from filling the log. It writes
// nothing itself: it says at which level to. Any package may import it.
package loglimit

import (
	"strings"
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

const (
	// Period is for how long a kind of message is counted.
	Period = 10 * time.Minute
	// Again is how long after Over a kind is logged again.
	Again = time.Minute
	// maxKinds bounds the different kinds: part of a kind may be a
	// server's text, which may differ each time.
	maxKinds = 32
)

// Limiter counts messages by their kind. Its zero value is ready for use, by several
// goroutines.
type Limiter struct {
	// mu guards kinds.
	mu    sync.Mutex
	kinds map[string]*count
}

// count is how many messages of a kind there were since a time.
type count struct {
	n     int
	since time.Time
}

// Level returns the level for a message: its own for the first burst of its kind in a
// Period, otherwise debug. unlogged is how many went to debug in the Period before; it
// is with the first of the next.
func (l *Limiter) Level(own zapcore.Level, kind string, burst int) (level zapcore.Level, unlogged int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	c := l.kinds[kind]
	if c == nil {
		if c = l.add(kind, now); c == nil {
			return zapcore.DebugLevel, 0
		}
	}
	if now.Sub(c.since) >= Period {
		unlogged = max(0, c.n-burst)
		*c = count{since: now}
	}
	if c.n++; c.n <= burst {
		return own, unlogged
	}
	return zapcore.DebugLevel, 0
}

// Kind returns an error's text without what differs from one time to the next: our port,
// most of all.
func Kind(err error) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
}

// add returns the count of a new kind, or nil if there are too many.
func (l *Limiter) add(kind string, now time.Time) *count {
	if len(l.kinds) >= maxKinds {
		for k, c := range l.kinds {
			if now.Sub(c.since) >= Period {
				delete(l.kinds, k)
			}
		}
	}
	if len(l.kinds) >= maxKinds {
		return nil
	}
	if l.kinds == nil {
		l.kinds = map[string]*count{}
	}
	c := &count{since: now}
	l.kinds[kind] = c
	return c
}

// Over says that what the messages are about is over: the next of each kind is
// another occurrence, unless it comes within Again.
func (l *Limiter) Over() {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := time.Now().Add(Again - Period)
	for _, c := range l.kinds {
		if c.since.After(limit) {
			c.since = limit
		}
	}
}
