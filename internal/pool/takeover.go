package pool

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// generations counts the takeovers of this process, so that a later one has a
// higher number whichever pool it happens in.
var generations atomic.Uint64

// reason is why a connection was made anew.
type reason string

const (
	reasonLost      reason = "lost"
	reasonRekey     reason = "rekey_limit"
	reasonCert      reason = "certificate"
	reasonPreferred reason = "preferred_host"
	reasonJump      reason = "proxy_jump"
	reasonForward   reason = "remote_forward"
	reasonStuck     reason = "stuck_channels"
	reasonRequested reason = "requested"
)

// takeOver puts a new connection into service: in the place of one that is to
// be replaced, which drains from then on, or beside the others. It returns
// what there is to log of it.
func (p *Pool) takeOver(m *member) (msg string, fields []zap.Field) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		m.enter(memberClosed)
		go m.client.Close(failure.ErrClosed) // not under mu: it closes a socket
		return "", nil
	}
	active, present := p.active(), p.present()
	if len(active) > 0 && p.failback.state == failbackReturning && m.host != p.failback.to {
		m.replace(reasonPreferred) // it came too late to return
	}
	old := p.toReplace()
	switch {
	case old != nil:
		msg = "connection replaced"
		p.counters.Reconnected(string(old.reason))
		if old.carries.isApart() {
			m.carries = old.carries
		}
	case len(present) > 0:
		msg = "connection added"
		fields = append(fields, zap.String("reason", p.assign(m)), zap.Int("connections", len(present)+1))
	default:
		msg = "connected"
		var downtime time.Duration
		for _, o := range p.members {
			if o.isDraining() {
				continue
			}
			// Lost as well, which its watch has yet to say.
			o.superseded = true
			msg, downtime = "reconnected", o.client.Silent()
		}
		if at := p.history.lostAt; !at.IsZero() {
			msg, downtime = "reconnected", time.Since(at)
		}
		if msg == "reconnected" {
			fields = append(fields, zap.Duration("downtime", downtime))
			p.counters.Reconnected(string(reasonLost))
		}
	}
	if len(present) == 0 {
		p.history.since = time.Now()
		p.history.used = p.history.since
	}
	p.history.lostAt = time.Time{}
	p.members = append(p.members, m)
	p.failback.inUse = m.host
	for _, o := range p.serving() {
		if o.carries.isApart() && o.host != p.failback.inUse {
			p.startDrain(o)
		}
	}
	p.retry.connected()
	p.growth.grown()
	if old != nil {
		p.startDrain(old)
		p.newGeneration()
	}
	p.leaveToTransfers()
	p.arrived()
	p.broadcast()
	p.wake()
	return msg, fields
}

// superseded returns the connections whose death the pool has yet to hear of,
// while there is another one already.
func (p *Pool) superseded() []*member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.members), func(m *member) bool { return !m.superseded })
}

// toReplace returns a connection that a new one is to take over from, or nil.
// The caller holds mu.
func (p *Pool) toReplace() *member {
	serving := p.serving()
	if i := slices.IndexFunc(serving, func(m *member) bool { return m.state == memberReplacing }); i >= 0 {
		return serving[i]
	}
	return nil
}

// replace asks for a new connection to take over from l.
func (p *Pool) replace(m *member, why reason, text string) {
	p.mu.Lock()
	asked := m.state == memberActive && !m.client.IsDone() && p.held
	if asked {
		m.replace(why)
		p.wake()
	}
	p.mu.Unlock()
	if asked {
		p.log().Info("replacing the connection", zap.String("reason", text))
	}
}

// Reconnect replaces each connection by a new one, which takes over before the old
// one drains: what goes on through that one goes on. If there is none, the tunnel
// connects: soon, even after the bastion has refused us, since somebody may have fixed
// that there. It does not wait. As any other, the attempt waits for its slot.
func (p *Pool) Reconnect() {
	p.mu.Lock()
	links, active := p.present(), len(p.active())
	p.mu.Unlock()
	for _, l := range links {
		p.replace(l, reasonRequested, "requested")
	}
	if active == 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.retry.force()
		p.wake()
	}
}

// startDrain lets a connection end with its channels. The caller holds mu.
func (p *Pool) startDrain(m *member) {
	m.enter(memberDraining)
	close(m.draining)
	m.drainTimer = time.AfterFunc(p.set.DrainTimeout, func() {
		p.mu.Lock()
		m.enter(memberClosed)
		channels := m.channels
		p.mu.Unlock()
		if channels > 0 {
			p.log().Warn("drain_timeout reached: closing a replaced connection", zap.Int("channels", channels))
		}
		m.client.Close(failure.ErrClosed)
	})
	p.closeIfDrained(m)
}

// isDraining reports whether the connection takes no more channels.
func (m *member) isDraining() bool {
	select {
	case <-m.draining:
		return true
	default:
		return false
	}
}

// drainLinger is how long a draining connection outlives its last channel: a
// server may answer the CLOSE of a channel before it has delivered its data.
const drainLinger = time.Second

// closeIfDrained closes a draining connection without live channels. The caller
// holds mu.
func (p *Pool) closeIfDrained(m *member) {
	if m.drainTimer != nil && m.live() == 0 && m.state != memberClosed {
		m.enter(memberClosed)
		m.drainTimer.Stop()
		m.drainTimer = time.AfterFunc(drainLinger, func() { m.client.Close(failure.ErrClosed) })
	}
}

// lost takes a dead connection out. The connection calls it, once.
func (p *Pool) lost(m *member, cause error) {
	p.reportLost(m, cause)
	p.reports.Deliver() // before what follows from it
	if p.takeOut(m, cause) {
		p.log().Info("the bastion closes connections without channels (UnusedConnectionTimeout); will reconnect on demand")
	}
}

// reportLost reports a connection's death, once: for the log and, if it is
// the last connection, for the observer.
func (p *Pool) reportLost(m *member, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.reported {
		return
	}
	m.reported = true
	others, last := len(p.present()), p.isLast(m)
	lasted, address := m.client.Age(), p.failback.inUse.Address
	about := []zap.Field{zap.Duration("duration", lasted), zap.Int("channels", m.channels)}
	closed, draining, unused := m.state == memberClosed, m.isDraining(), m.unused(cause)
	p.reports.Add(func() {
		log := p.logAbout(address).With(about...)
		switch {
		case closed:
			log.Debug("connection closed")
		case draining:
			log.Warn("draining connection lost", zap.Error(cause))
		case !last && unused:
			log.Debug("the bastion has closed a connection without channels", zap.Error(cause))
		case !last:
			log.Warn("connection lost; others serve", zap.Error(cause), zap.Int("connections", others))
		default:
			level, unlogged := p.reports.LossLevel(lasted)
			if unlogged > 0 {
				log = log.With(zap.Int("unlogged", unlogged))
			}
			log.Log(level, "connection lost", zap.Error(cause))
			p.emit(report.EventLost, m.host.Address, append(about, zap.Error(cause))...)
		}
	})
}

// isLast reports whether with a dead connection the tunnel has lost its last connection:
// of those that die together, that is the last to be reported. The caller holds mu.
func (p *Pool) isLast(m *member) bool {
	return !slices.ContainsFunc(p.members, func(o *member) bool {
		return o != m && !o.reported && !o.isDraining() && (o.superseded || !m.superseded)
	})
}

// takeOut is the part of lost that is done under mu. It reports whether, from now
// on, the pool makes up for a connection only when there are dials for it.
func (p *Pool) takeOut(m *member, cause error) (onDemand bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members = slices.DeleteFunc(p.members, func(o *member) bool { return o == m })
	if m.drainTimer != nil {
		m.drainTimer.Stop()
	}
	if !m.isDraining() {
		unused, last := m.unused(cause), len(p.present()) == 0
		switch {
		case unused:
			onDemand = p.history.unused.ended(time.Now(), m.client.Age(), time.Since(m.used))
		case last:
			p.history.unused.failed()
		}
		if last {
			now := time.Now()
			p.history.lost(now, &report.ErrorStatus{Time: now, Host: m.host.Address, Cause: failure.CauseLost, Error: cause.Error()})
		}
		login := m.host.loginWith(p.set)
		switch {
		case m.state == memberClosed, unused && !last: // one that was not needed is no loss
		case unused:
			m.host.Limiter.Ended(login)
		default:
			m.host.Limiter.Lost(login, m.client.Age(), p.set.pace().Delay, !last)
		}
		if last {
			due, _ := m.host.Limiter.Due(login, connlimit.Demand{})
			p.retry.notBefore = earlier(due, time.Now().Add(p.set.ReconnectMin))
		}
		p.broadcast()
		p.wake()
	}
	p.lingerIfIdle()
	return onDemand
}

// unused reports whether the bastion may have ended the connection because it had no channels.
// The caller holds Pool.mu.
func (m *member) unused(cause error) bool {
	// x/crypto's type for SSH_MSG_DISCONNECT is not exported.
	byPeer := errors.Is(cause, io.EOF) || strings.Contains(cause.Error(), "ssh: disconnect")
	return byPeer && m.channels == 0 && time.Since(m.used) >= connlimit.Settled
}

// Generation is a number that rises each time the channels of requests should
// go to other connections than before: one was replaced, or is left to streams
// from now on. Pools of channels opened in an older generation should let go of
// them as they become idle.
func (p *Pool) Generation() uint64 { return p.generation.Load() }

// newGeneration asks pools of channels to let go of those that they have. The caller
// holds mu.
func (p *Pool) newGeneration() {
	p.generation.Store(generations.Add(1))
	close(p.moved)
	p.moved = make(chan struct{})
}

// Moved returns a channel that is closed once the generation is a later one.
func (p *Pool) Moved(generation uint64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.generation.Load() > generation {
		moved := make(chan struct{})
		close(moved)
		return moved
	}
	return p.moved
}
