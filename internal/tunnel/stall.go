package tunnel

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// stall.go is about connections on which the bastion answers nothing for a while. sshd
// looks names up for one connection at a time, and does nothing else for it meanwhile:
// with a resolver that is down that takes ten seconds. What is open on such a
// connection stays and goes on when it responds again; new channels open on others.

// stall is whether a link has stalled. It is guarded by entry.mu.
type stall struct {
	// since is when the link was found stalled; zero if it is not.
	since time.Time
	// logged tells that the stall is in the log above debug.
	logged bool
}

// Stalled implements sshconn.Owner.
func (l *link) Stalled(name string) {
	e := l.entry
	defer e.reports.deliver()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !l.isStalledNow() && !l.isDraining() && !l.client.IsDone() {
		e.stalled(l, name)
	}
}

// Responds implements sshconn.Owner.
func (l *link) Responds() {
	e := l.entry
	defer e.reports.deliver()
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.isStalledNow() && !l.isDraining() && !l.client.IsDone() {
		e.resumed(l)
	}
}

// isStalledNow tells whether the link takes no channels because it is stalled. The
// caller holds entry.mu.
func (l *link) isStalledNow() bool { return !l.stall.since.IsZero() }

// stalled takes a link out of service until it responds again. The caller holds mu.
func (e *entry) stalled(l *link, name string) {
	now := time.Now()
	l.stall.since = now
	level, _ := e.reports.limiter.Level(zap.WarnLevel, "stalled", 1)
	l.stall.logged = level > zap.DebugLevel
	if name != "" {
		e.blameName(name, now)
	}
	if !l.role.isApart() {
		e.newGeneration() // no request waits on a pooled channel of this link
	}
	e.broadcast()
	e.nudge()
	e.reportStall(l, zapcore.WarnLevel, "connection stalled: the bastion does not respond; new channels open on another one",
		zap.Duration("silent", l.client.Silent()), zap.Int("channels", l.channels))
}

// resumed puts a link back into service. The caller holds mu.
func (e *entry) resumed(l *link) {
	took := time.Since(l.stall.since)
	e.reportStall(l, zapcore.InfoLevel, "connection responds again", zap.Duration("duration", took), zap.Int("channels", l.channels))
	others := e.active()
	l.stall.since = time.Time{}
	switch {
	case len(others) == 0:
		e.inUse = l.host
		e.retry.connected()
	case l.host != e.inUse: // connections are to one host, and the others went elsewhere
		e.startDrain(l)
	}
	e.arrived()
	e.broadcast()
	e.nudge()
}

// reportStall logs a line about a link, at debug if the stall is one of many. The caller
// holds mu, and delivers the reports.
func (e *entry) reportStall(l *link, level zapcore.Level, msg string, fields ...zap.Field) {
	if !l.stall.logged {
		level = zapcore.DebugLevel
	}
	address := l.host.cfg.Address
	e.reports.add(func() { e.logAbout(address).Log(level, msg, fields...) })
}
