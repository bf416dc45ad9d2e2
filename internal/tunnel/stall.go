package tunnel

import (
	"errors"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// stall.go is about connections on which the bastion answers nothing for a while. sshd
// looks names up for one connection at a time, and does nothing else for it meanwhile:
// with a resolver that is down that takes ten seconds. What is open on such a
// connection stays and goes on when it responds again; new channels open on others.

// errStalled says that an open waits on a connection that has stalled, and may be tried
// on another one.
var errStalled = errors.New("the bastion does not respond on this connection")

// stall is whether a link has stalled. It is guarded by entry.mu.
type stall struct {
	// since is when the link was found stalled; zero if it is not.
	since time.Time
	// begun is closed when the link is found stalled, and replaced when it responds
	// again.
	begun chan struct{}
	// logged tells that the stall is in the log above debug.
	logged bool
}

// lastFreeMargin is how long the bastion may have gone on sending what it had sent to
// its kernel before, besides the round trip.
const lastFreeMargin = time.Second

// stallBegun returns a channel that is closed once the link is stalled.
func (l *link) stallBegun() <-chan struct{} {
	l.entry.mu.Lock()
	defer l.entry.mu.Unlock()
	return l.stall.begun
}

// noteStall records whether a link is stalled, and what follows from a change.
func (e *entry) noteStall(l *link, stalled bool) {
	defer e.news.deliver()
	e.mu.Lock()
	defer e.mu.Unlock()
	if stalled == l.isStalledNow() || l.isDraining() || l.wire.IsDead() {
		return
	}
	if stalled {
		e.stalled(l)
	} else {
		e.resumed(l)
	}
}

// isStalled is isStalledNow for callers that do not hold mu.
func (e *entry) isStalled(l *link) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return l.isStalledNow()
}

// isStalledNow tells whether the link takes no channels because it is stalled. The
// caller holds entry.mu.
func (l *link) isStalledNow() bool { return !l.stall.since.IsZero() }

// stalled takes a link out of service until it responds again. The caller holds mu.
func (e *entry) stalled(l *link) {
	now := time.Now()
	l.stall.since = now
	l.stall.logged = now.Sub(e.stallLogged) >= remindEvery
	if l.stall.logged {
		e.stallLogged = now
	}
	_, roundTrip := l.roundTrips()
	if name := l.lookups.blame(l.wire.LastHeard() - lastFreeMargin - roundTrip); name != "" {
		e.blameName(name, now)
	}
	close(l.stall.begun)
	if !l.role.isApart() {
		e.newGeneration() // no request waits on a pooled channel of this link
	}
	e.broadcast()
	e.nudge()
	e.reportStall(l, zapcore.WarnLevel, "connection stalled: the bastion does not respond; new channels open on another one",
		zap.Duration("silent", l.wire.Now()-l.wire.LastHeard()), zap.Int("channels", l.channels))
}

// resumed puts a link back into service. The caller holds mu.
func (e *entry) resumed(l *link) {
	took := time.Since(l.stall.since)
	e.reportStall(l, zapcore.InfoLevel, "connection responds again", zap.Duration("duration", took), zap.Int("channels", l.channels))
	others := e.active()
	l.stall.since, l.stall.begun = time.Time{}, make(chan struct{})
	switch {
	case len(others) == 0:
		e.inUse, e.failed, e.asked = l.host, nil, false
	case l.host != e.inUse: // connections are to one host, and the others went elsewhere
		e.startDrain(l)
	}
	e.arrived()
	e.broadcast()
	e.nudge()
}

// reportStall logs a line about a link, at debug if the stall is one of many. The caller
// holds mu, and delivers the news.
func (e *entry) reportStall(l *link, level zapcore.Level, msg string, fields ...zap.Field) {
	if !l.stall.logged {
		level = zapcore.DebugLevel
	}
	address := l.host.cfg.Address
	e.news.add(func() { e.logAbout(address).Log(level, msg, fields...) })
}
