package tunnel

import (
	"fmt"
	"time"

	"go.uber.org/zap"
)

const (
	// stallAfter is how long something that was sent waits, with no byte from the
	// bastion, before the connection counts as stalled.
	stallAfter = 3 * time.Second
	// doubtAfter is how long it waits before the bastion is probed: a target that
	// does not answer is no stall.
	doubtAfter = time.Second
	// deafAfter is how long a probe may be unanswered beside an open, whatever else
	// comes in, before the connection counts as stalled.
	deafAfter = 10 * time.Second
	// keepAliveTick is how often a link is looked at.
	keepAliveTick = time.Second
)

// silentError is why a link was closed whose probes were not answered.
type silentError struct{ after time.Duration }

func (e *silentError) Error() string {
	return fmt.Sprintf("the bastion has not responded for %s", e.after.Round(time.Millisecond))
}

// keepAlive probes the bastion when it has been silent, and closes the link when it
// stays silent: ServerAliveInterval and ServerAliveCountMax of ssh_config(5). Any byte
// that comes in is life: a bastion that is busy sending need not answer. It also finds
// out when the link is stalled, and when it is due for replacement, and looks after its
// channels. It returns when the link has died.
func (l *link) keepAlive() {
	set := l.entry.settings()
	tick := keepAliveTickFor(set.ServerAliveInterval)
	l.wire.SetUserTimeout(set.patience())
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	// What is counted are intervals, not the time alone: after a pause of this
	// process an answer may be waiting to be read.
	measured, missed, tended := false, 0, time.Duration(0)
	if set.ServerAliveInterval > 0 {
		l.probe() // whether the bastion answers any
	}
	for {
		select {
		case <-l.wire.Dead():
			return
		case <-ticker.C:
		}
		if now := l.entry.settings(); now.patience() != set.patience() {
			tick = keepAliveTickFor(now.ServerAliveInterval)
			ticker.Reset(tick)
			l.wire.SetUserTimeout(now.patience())
		}
		set = l.entry.settings()
		if !measured && set.ServerAliveInterval > 0 {
			measured = true
			l.probe() // how long a round trip takes: sshd's first answer is late
		}

		silent := l.wire.Now() - l.wire.LastHeard()
		switch {
		case set.ServerAliveInterval <= 0 || silent < set.ServerAliveInterval:
			missed = 0
		case silent < time.Duration(missed+1)*set.ServerAliveInterval:
		case missed >= set.ServerAliveCountMax && l.answersProbes():
			l.wire.Die(&silentError{silent})
			return
		default:
			missed++
			if l.unanswered() == 0 {
				l.entry.log().Debug("probing the bastion", zap.Duration("silent", silent))
				l.probe()
			}
		}

		l.entry.noteStall(l, l.findStall())
		if reason, text := l.dueForReplacement(set); reason != "" {
			l.entry.replace(l, reason, text)
		}
		if now := l.wire.Now(); now-tended >= tendInterval {
			tended = now
			l.entry.tend(l)
		}
	}
}

// patience is how long the bastion may be silent before its connection is lost; 0
// is for ever. As with ssh, that is when ServerAliveCountMax probes, the first after
// ServerAliveInterval, have each been unanswered for ServerAliveInterval.
func (s *Settings) patience() time.Duration {
	return max(0, s.ServerAliveInterval) * time.Duration(s.ServerAliveCountMax+1)
}

// findStall tells whether the link is stalled.
func (l *link) findStall() bool {
	if l.entry.isStalled(l) {
		return !l.hasResumed()
	}
	return l.hasStalled()
}

// hasResumed tells whether a bastion that was stalled serves the link again: it has
// answered a probe, and without delay. It may have looked up one name of several.
func (l *link) hasResumed() bool {
	if l.unanswered() > 0 {
		return l.ignoresProbes()
	}
	if last, fastest := l.roundTrips(); last >= stallAfter+fastest {
		l.probe()
		return false
	}
	return true
}

// hasStalled tells whether the bastion has left unanswered for stallAfter what was
// sent to it, and a probe. sshd does while it looks a name up, for all channels of a
// connection. One that sends, but has not answered a probe for long, does not hear
// us, as behind a proxy that is stuck in one direction.
func (l *link) hasStalled() bool {
	waits, pending := l.waitingFor(), l.opens.pending() > 0
	if l.unanswered() == 0 {
		since := l.sinceProbe()
		if waits >= doubtAfter && since >= waits || pending && since >= stallAfter {
			l.probe()
		}
		return false
	}
	if l.ignoresProbes() {
		return false
	}
	_, fastest := l.roundTrips()
	return waits >= stallAfter+fastest || pending && l.answersProbes() && l.unanswered() >= deafAfter
}

// keepAliveTickFor is how often to look at a link that is to be probed after
// interval.
func keepAliveTickFor(interval time.Duration) time.Duration {
	if interval <= 0 {
		return keepAliveTick
	}
	return min(keepAliveTick, max(interval/4, time.Millisecond))
}

// dueForReplacement returns why a new connection should take over from the
// link, or "".
func (l *link) dueForReplacement(set Settings) (why reason, text string) {
	if l.wire.Bytes() >= set.RekeyBytes {
		return reasonRekey, "rekey_limit reached: bytes"
	}
	if set.RekeyInterval > 0 && l.wire.Now() >= set.RekeyInterval {
		return reasonRekey, "rekey_limit reached: time"
	}
	if n := l.tooStuck(); n > 0 {
		return reasonStuck, fmt.Sprintf("the bastion does not close %d channels, whose targets may have stopped reading", n)
	}
	if jump, ok := l.wire.Conn.(*Conn); ok {
		select {
		case <-jump.link.draining:
			return reasonJump, "the connection jumped through was replaced"
		default:
		}
	}
	return "", ""
}
