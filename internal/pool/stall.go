package pool

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// stall.go is about connections on which the bastion answers nothing for a while. sshd
// looks names up for one connection at a time, and does nothing else for it meanwhile:
// with a resolver that is down that takes ten seconds. What is open on such a
// connection stays and goes on when it responds again; new channels open on others.

// stall is whether a connection has stalled. It is guarded by Pool.mu.
type stall struct {
	// since is when the connection was found stalled; zero if it is not.
	since time.Time
	// logged says that the stall is in the log above debug.
	logged bool
}

// Stalled implements sshconn.Owner.
func (m *member) Stalled(name string) {
	p := m.pool
	defer p.reports.Deliver()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !m.isStalledNow() && !m.isDraining() && !m.client.IsDone() {
		p.stalled(m, name)
	}
}

// Responds implements sshconn.Owner.
func (m *member) Responds() {
	p := m.pool
	defer p.reports.Deliver()
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.isStalledNow() && !m.isDraining() && !m.client.IsDone() {
		p.resumed(m)
	}
}

// isStalledNow reports whether the connection takes no channels because it is stalled. The
// caller holds Pool.mu.
func (m *member) isStalledNow() bool { return !m.stall.since.IsZero() }

// stalled takes a connection out of service until it responds again. The caller holds mu.
func (p *Pool) stalled(m *member, name string) {
	now := time.Now()
	m.stall.since = now
	m.stall.logged = p.reports.First("stalled")
	if name != "" {
		p.slow.add(name, now)
	}
	if !m.carries.isApart() {
		p.newGeneration() // no request waits on a pooled channel of this connection
	}
	p.broadcast()
	p.wake()
	p.reportStall(m, zapcore.WarnLevel, "connection stalled: the bastion does not respond; new channels open on another one",
		zap.Duration("silent", m.client.Silent()), zap.Int("channels", m.channels))
}

// resumed puts a connection back into service. The caller holds mu.
func (p *Pool) resumed(m *member) {
	took := time.Since(m.stall.since)
	p.reportStall(m, zapcore.InfoLevel, "connection responds again", zap.Duration("duration", took), zap.Int("channels", m.channels))
	others := p.active()
	m.stall.since = time.Time{}
	switch {
	case len(others) == 0:
		p.failback.inUse = m.host
		p.retry.connected()
	case m.host != p.failback.inUse: // connections are to one host, and the others went elsewhere
		p.startDrain(m)
	}
	p.arrived()
	p.broadcast()
	p.wake()
}

// reportStall logs a line about a connection, at debug if the stall is one of many. The caller
// holds mu, and delivers the reports.
func (p *Pool) reportStall(m *member, level zapcore.Level, msg string, fields ...zap.Field) {
	if !m.stall.logged {
		level = zapcore.DebugLevel
	}
	address := m.host.Address
	p.reports.Add(func() { p.logAbout(address).Log(level, msg, fields...) })
}
