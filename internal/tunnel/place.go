package tunnel

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// generations counts the takeovers of this process, so that a later one has a
// higher number whichever entry it happens in.
var generations atomic.Uint64

// place chooses the connection that a new channel of a class opens on, or
// returns nil if there is none. The caller holds mu.
func (e *entry) place(Class) *link {
	if e.current == nil || e.current.wire.isDead() {
		return nil
	}
	return e.current
}

// takeOver makes a new connection the current one and lets the one before it
// drain. It returns what there is to log of it.
func (e *entry) takeOver(l *link) (msg string, downtime time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		l.retired = true
		go l.wire.die(ErrClosed) // not under mu: it closes a socket
		return "", 0
	}
	old := e.current
	switch {
	case old != nil:
		msg = "connection replaced"
	case !e.lostAt.IsZero():
		msg, downtime = "reconnected", time.Since(e.lostAt)
	default:
		msg = "connected"
	}
	e.lostAt = time.Time{}
	e.current = l
	e.links = append(e.links, l)
	e.failed, e.asked = nil, false
	if old != nil {
		e.generation = generations.Add(1)
		e.startDrain(old)
	}
	l.generation = e.generation
	e.replacing = ""
	e.broadcast()
	return msg, downtime
}

// replace asks for a new connection to take over from l.
func (e *entry) replace(l *link, reason string) {
	e.mu.Lock()
	asked := l == e.current && e.replacing == "" && e.held
	if asked {
		e.replacing = reason
		e.nudge()
	}
	e.mu.Unlock()
	if asked {
		e.log().Info("replacing the connection", zap.String("reason", reason))
	}
}

// startDrain lets a connection end with its channels. The caller holds mu.
func (e *entry) startDrain(l *link) {
	close(l.draining)
	l.drainTimer = time.AfterFunc(e.set.DrainTimeout, func() {
		e.mu.Lock()
		l.retired = true
		channels := l.channels
		log := e.logger()
		e.mu.Unlock()
		if channels > 0 {
			log.Warn("drain_timeout reached: closing a replaced connection", zap.Int("channels", channels))
		}
		l.wire.die(ErrClosed)
	})
	e.closeIfDrained(l)
}

// drainLinger is how long a draining connection outlives its last channel: a
// server may answer the CLOSE of a channel before it has delivered its data.
const drainLinger = time.Second

// closeIfDrained closes a draining connection without channels. The caller
// holds mu.
func (e *entry) closeIfDrained(l *link) {
	if l.drainTimer != nil && l.channels == 0 && !l.retired {
		l.retired = true
		l.drainTimer.Stop()
		l.drainTimer = time.AfterFunc(drainLinger, func() { l.wire.die(ErrClosed) })
	}
}

// channelEnded takes a channel off the link's count.
func (e *entry) channelEnded(l *link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l.channels--
	l.used = time.Now()
	e.closeIfDrained(l)
	e.lingerIfIdle()
}

// lost takes a dead link out. The link calls it, once.
func (e *entry) lost(l *link, cause error) {
	e.logLost(l, cause) // before what follows from it
	if e.takeOut(l, cause) {
		e.log().Info("the bastion closes connections without channels; will reconnect on demand")
	}
}

func (e *entry) logLost(l *link, cause error) {
	e.mu.Lock()
	log := e.logger().With(zap.Duration("duration", l.wire.now()), zap.Int("channels", l.channels))
	retired, current := l.retired, l == e.current
	e.mu.Unlock()
	switch {
	case retired:
		log.Debug("connection closed")
	case !current:
		log.Warn("draining connection lost", zap.Error(cause))
	default:
		log.Warn("lost", zap.Error(cause))
	}
}

// takeOut is the part of lost that is done under mu. It tells whether the entry
// waits for a dial from now on.
func (e *entry) takeOut(l *link, cause error) (onDemand bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links = slices.DeleteFunc(e.links, func(o *link) bool { return o == l })
	if l.drainTimer != nil {
		l.drainTimer.Stop()
	}
	e.drains = slices.DeleteFunc(e.drains, func(d drainWaiter) bool { return e.drainEnded(d) })
	if l == e.current {
		e.current = nil
		e.unused = e.unusedAfter(l, cause)
		onDemand = e.unused == unusedLimit
		e.replacing = ""
		e.lostAt = time.Now()
		if !l.retired {
			e.gate.lost(e.key, l.wire.now(), e.set)
		}
		e.broadcast()
		e.nudge()
	}
	e.lingerIfIdle()
	return onDemand
}

// unusedLimit is after how many connections in a row that the bastion closed
// for want of channels (sshd_config's UnusedConnectionTimeout) the next one
// waits for a dial.
const unusedLimit = 2

// unusedAfter returns how many such connections there were, l included. The
// caller holds mu.
func (e *entry) unusedAfter(l *link, cause error) int {
	// x/crypto's type for SSH_MSG_DISCONNECT is not exported.
	byPeer := errors.Is(cause, io.EOF) || strings.Contains(cause.Error(), "ssh: disconnect")
	if byPeer && l.channels == 0 && time.Since(l.used) >= settled {
		return e.unused + 1
	}
	return 0
}

// currentGeneration is that of the last takeover.
func (e *entry) currentGeneration() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.generation
}

// drainWaiter waits for the connections older than a generation to end.
type drainWaiter struct {
	generation uint64
	done       chan struct{}
}

// drained returns a channel that is closed when no connection is left that is
// older than generation.
func (e *entry) drained(generation uint64) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := drainWaiter{generation, make(chan struct{})}
	if !e.drainEnded(d) {
		e.drains = append(e.drains, d)
	}
	return d.done
}

// drainEnded tells a waiter if what it waits for has happened. The caller holds
// mu.
func (e *entry) drainEnded(d drainWaiter) bool {
	if slices.ContainsFunc(e.links, func(l *link) bool { return l.generation < d.generation }) {
		return false
	}
	close(d.done)
	return true
}
