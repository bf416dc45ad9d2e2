package tunnel

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

const (
	// doubtAfter is how long an open or a write may wait with no byte from the
	// bastion before the bastion is probed.
	doubtAfter = 3 * time.Second
	// doubtFor is how long it then has to send one.
	doubtFor = 5 * time.Second
	// deafAfter is how long a probe may go unanswered beside an open, whatever
	// else comes in, before another connection takes over.
	deafAfter = 10 * time.Second
	// keepAliveTick is how often a link is looked at.
	keepAliveTick = time.Second
)

// errDoubt is why a link was closed on which nothing came in though something
// waited for it, and silentError the same where only probes did.
var errDoubt = errors.New("the bastion does not respond")

type silentError struct{ after time.Duration }

func (e *silentError) Error() string {
	return fmt.Sprintf("the bastion has not responded for %s", e.after.Round(time.Millisecond))
}

// keepAlive probes the bastion when it has been silent, and closes the link
// when it stays silent: ssh_config's ServerAliveInterval and
// ServerAliveCountMax, and besides these at once when something waits for an
// answer. Any byte that comes in is life: a bastion that is busy sending
// need not answer. But one that answers no open and no probe does not hear us,
// and what it still brings is left to drain. keepAlive also finds out when the
// link is due for replacement otherwise, and sees to its channels. It returns
// when the link has died.
func (l *link) keepAlive() {
	tick := keepAliveTickFor(l.entry.settings().ServerAliveInterval)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	// How long a round trip takes is to be known soon, and not only after a
	// silence. What waits for the new connection goes first.
	measured := false
	// What is counted are probes, not the time alone: after a pause of this
	// process an answer may be waiting to be read.
	probes, doubted, tended := 0, time.Duration(0), time.Duration(0)
	var hears hearing
	for {
		select {
		case <-l.wire.dead:
			return
		case <-ticker.C:
		}
		set := l.entry.settings()
		if t := keepAliveTickFor(set.ServerAliveInterval); t != tick {
			tick = t
			ticker.Reset(tick)
		}
		if !measured && set.ServerAliveInterval > 0 {
			measured = true
			l.probe()
		}

		switch {
		case l.waitingFor() < doubtAfter:
			doubted = 0
		case doubted == 0:
			doubted = l.wire.now()
			l.probe()
		case l.wire.now()-doubted >= doubtFor:
			l.wire.die(errDoubt)
			return
		}

		silent := l.wire.now() - l.wire.lastHeard()
		switch {
		case set.ServerAliveInterval <= 0 || silent < set.ServerAliveInterval:
			probes = 0
		case silent < time.Duration(probes+1)*set.ServerAliveInterval:
		case probes >= set.ServerAliveCountMax:
			l.wire.die(&silentError{silent})
			return
		default:
			probes++
			l.entry.log().Debug("probing the bastion", zap.Duration("silent", silent))
			l.probe()
		}

		if hears.fails(l) {
			l.entry.replace(l, reasonLost, fmt.Sprintf("the bastion sends, but has answered nothing for %s", deafAfter))
		}
		if reason, text := l.dueForReplacement(set); reason != "" {
			l.entry.replace(l, reason, text)
		}
		if now := l.wire.now(); now-tended >= tendInterval {
			tended = now
			l.entry.tend(l)
		}
	}
}

// hearing asks a bastion that owes answers to opens whether it hears us: the
// kernel knows (see userTimeout), but not of what lies behind a proxy.
type hearing struct {
	answered <-chan struct{} // a probe's. nil if none is asked about
	asked    time.Duration   // when, on the wire's clock
}

// fails tells whether the bastion does not hear us. It must have answered a
// probe before: not every server does.
func (h *hearing) fails(l *link) bool {
	if l.opens.pending() == 0 || l.roundTrip.Load() == 0 {
		h.answered = nil
		return false
	}
	if h.answered == nil {
		h.answered, h.asked = l.probe(), l.wire.now()
		return false
	}
	select {
	case <-h.answered:
		if l.wire.now()-h.asked >= doubtAfter { // and then anew
			h.answered = nil
		}
		return false
	default:
		return l.wire.now()-h.asked >= deafAfter
	}
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
	if l.wire.bytes.Load() >= set.RekeyBytes {
		return reasonRekey, "rekey_limit reached: bytes"
	}
	if set.RekeyInterval > 0 && l.wire.now() >= set.RekeyInterval {
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
