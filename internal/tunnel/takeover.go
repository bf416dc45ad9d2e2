package tunnel

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
)

// generations counts the takeovers of this process, so that a later one has a
// higher number whichever entry it happens in.
var generations atomic.Uint64

// takeOver puts a new connection into service: in the place of one that is to
// be replaced, which drains from then on, or beside the others. It returns
// what there is to log of it.
func (e *entry) takeOver(l *link) (msg string, fields []zap.Field) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		l.retired = true
		go l.client.Close(ErrClosed) // not under mu: it closes a socket
		return "", nil
	}
	active, present := e.active(), e.present()
	if len(active) > 0 && e.failback.state == failbackReturning && l.host != e.failback.to {
		l.replacing, l.reason = true, reasonPreferred // it came too late to return
	}
	old := e.toReplace()
	switch {
	case old != nil:
		msg = "connection replaced"
		e.counters.reconnected(old.reason)
		l.role = old.role
	case len(present) > 0:
		msg = "connection added"
		fields = append(fields, zap.String("reason", e.assign(l)), zap.Int("connections", len(present)+1))
	default:
		msg = "connected"
		var downtime time.Duration
		for _, o := range e.links {
			if o.isDraining() {
				continue
			}
			// Lost as well, which its watch has yet to say.
			o.outlived = true
			msg, downtime = "reconnected", o.client.Silent()
		}
		if at := e.history.lostAt; !at.IsZero() {
			msg, downtime = "reconnected", time.Since(at)
		}
		if msg == "reconnected" {
			fields = append(fields, zap.Duration("downtime", downtime))
			e.counters.reconnected(reasonLost)
		}
	}
	if len(present) == 0 {
		e.history.since = time.Now()
	}
	e.history.lostAt = time.Time{}
	e.links = append(e.links, l)
	e.inUse = l.host
	for _, o := range e.serving() {
		if o.role.isApart() && o.host != e.inUse {
			e.startDrain(o)
		}
	}
	e.retry.connected()
	e.growth.grown()
	if old != nil {
		e.startDrain(old)
		e.newGeneration()
	}
	e.arrived()
	e.rebalance()
	e.broadcast()
	e.nudge()
	return msg, fields
}

// outlived returns the connections whose death the entry has yet to hear of,
// while there is another one already.
func (e *entry) outlived() []*link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.links), func(l *link) bool { return !l.outlived })
}

// toReplace returns a connection that a new one is to take over from, or nil.
// The caller holds mu.
func (e *entry) toReplace() *link {
	serving := e.serving()
	if i := slices.IndexFunc(serving, func(l *link) bool { return l.replacing }); i >= 0 {
		return serving[i]
	}
	return nil
}

// replace asks for a new connection to take over from l.
func (e *entry) replace(l *link, why reason, text string) {
	e.mu.Lock()
	asked := !l.isDraining() && !l.client.IsDone() && !l.replacing && e.held
	if asked {
		l.replacing, l.reason = true, why
		e.nudge()
	}
	e.mu.Unlock()
	if asked {
		e.log().Info("replacing the connection", zap.String("reason", text))
	}
}

// startDrain lets a connection end with its channels. The caller holds mu.
func (e *entry) startDrain(l *link) {
	close(l.draining)
	l.drainTimer = time.AfterFunc(e.set.DrainTimeout, func() {
		e.mu.Lock()
		l.retired = true
		channels := l.channels
		e.mu.Unlock()
		if channels > 0 {
			e.log().Warn("drain_timeout reached: closing a replaced connection", zap.Int("channels", channels))
		}
		l.client.Close(ErrClosed)
	})
	e.closeIfDrained(l)
}

// isDraining tells whether the link takes no more channels.
func (l *link) isDraining() bool {
	select {
	case <-l.draining:
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
func (e *entry) closeIfDrained(l *link) {
	if l.drainTimer != nil && l.live() == 0 && !l.retired {
		l.retired = true
		l.drainTimer.Stop()
		l.drainTimer = time.AfterFunc(drainLinger, func() { l.client.Close(ErrClosed) })
	}
}

// lost takes a dead link out. The link calls it, once.
func (e *entry) lost(l *link, cause error) {
	e.reportLost(l, cause)
	e.reports.deliver() // before what follows from it
	if e.takeOut(l, cause) {
		e.log().Info("the bastion closes connections without channels (UnusedConnectionTimeout); will reconnect on demand")
	}
}

// reportLost reports a link's death, once: for the log and, if it is
// the last connection, for the observer.
func (e *entry) reportLost(l *link, cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.told {
		return
	}
	l.told = true
	others, last := len(e.present()), e.isLast(l)
	lasted, address := l.client.Age(), e.inUse.cfg.Address
	about := []zap.Field{zap.Duration("duration", lasted), zap.Int("channels", l.channels)}
	retired, draining, unused := l.retired, l.isDraining(), l.unused(cause)
	e.reports.add(func() {
		log := e.logAbout(address).With(about...)
		switch {
		case retired:
			log.Debug("connection closed")
		case draining:
			log.Warn("draining connection lost", zap.Error(cause))
		case !last && unused:
			log.Debug("the bastion has closed a connection without channels", zap.Error(cause))
		case !last:
			log.Warn("connection lost", zap.Error(cause), zap.Int("connections", others))
		default:
			level, unlogged := e.reports.lossLevel(lasted)
			if unlogged > 0 {
				log = log.With(zap.Int("unlogged", unlogged))
			}
			log.Log(level, "lost", zap.Error(cause))
			e.emit(EventLost, l.host.cfg.Address, append(about, zap.Error(cause))...)
		}
	})
}

// isLast tells whether with a dead link the tunnel has lost its last connection:
// of those that die together, that is the last to be told of. The caller holds mu.
func (e *entry) isLast(l *link) bool {
	return !slices.ContainsFunc(e.links, func(o *link) bool {
		return o != l && !o.told && !o.isDraining() && (o.outlived || !l.outlived)
	})
}

// takeOut is the part of lost that is done under mu. It tells whether, from now
// on, the entry makes up for a connection only when there are dials for it.
func (e *entry) takeOut(l *link, cause error) (onDemand bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links = slices.DeleteFunc(e.links, func(o *link) bool { return o == l })
	if l.drainTimer != nil {
		l.drainTimer.Stop()
	}
	if !l.isDraining() {
		unused, last := l.unused(cause), len(e.present()) == 0
		switch {
		case unused:
			onDemand = e.unused.ended(time.Now(), l.client.Age(), time.Since(l.used))
		case last:
			e.unused.failed()
		}
		if last {
			now := time.Now()
			e.history.lost(now, &ErrorStatus{now, l.host.cfg.Address, failure.CauseLost, cause.Error()})
		}
		login := l.host.loginWith(e.set)
		switch {
		case l.retired, unused && !last: // one that was not needed is no loss
		case unused:
			l.host.limiter.Ended(login)
		default:
			l.host.limiter.Lost(login, l.client.Age(), e.set.delay(), !last)
		}
		if last {
			due, _ := l.host.limiter.Due(login, connlimit.Demand{})
			e.retry.notBefore = earlier(due, time.Now().Add(e.set.ReconnectMin))
		}
		e.broadcast()
		e.nudge()
	}
	e.lingerIfIdle()
	return onDemand
}

// unused tells whether the bastion may have ended the link for want of channels.
// The caller holds entry.mu.
func (l *link) unused(cause error) bool {
	// x/crypto's type for SSH_MSG_DISCONNECT is not exported.
	byPeer := errors.Is(cause, io.EOF) || strings.Contains(cause.Error(), "ssh: disconnect")
	return byPeer && l.channels == 0 && time.Since(l.used) >= connlimit.Settled
}

// currentGeneration is that of the last takeover.
func (e *entry) currentGeneration() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.generation
}

// newGeneration has pools of channels let go of those that they have. The caller
// holds mu.
func (e *entry) newGeneration() {
	e.generation = generations.Add(1)
	close(e.moved)
	e.moved = make(chan struct{})
}

// movedFrom returns a channel that is closed once the generation is a later one.
func (e *entry) movedFrom(generation uint64) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.generation > generation {
		moved := make(chan struct{})
		close(moved)
		return moved
	}
	return e.moved
}
