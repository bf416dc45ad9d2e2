package tunnel

import (
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// probeType is the type of the channel that a probe asks for. No server knows it,
// and every server must answer: SSH_MSG_CHANNEL_OPEN_FAILURE (RFC 4254 section 5.1).
// The global request keepalive@openssh.com would not do. There are servers that
// answer it with SSH_MSG_UNIMPLEMENTED, over which x/crypto ends the connection, and
// servers that do not answer it, which then holds up every other global request.
const probeType = "keepalive@caddy-ssh-tunnel"

// prober sends probes, one at a time.
type prober struct {
	// mu guards the fields below.
	mu sync.Mutex
	// answered is closed when the probe under way is answered; nil if none is.
	answered chan struct{}
	// sent is when, on the wire's clock, the last probe was sent; 0 before the first.
	sent time.Duration
	// next is closed when the probe after the one under way is answered; nil if
	// nobody waits for that.
	next chan struct{}
}

// probe sends a probe and returns a channel that is closed when it is answered. If a
// probe is under way, another one follows its answer: an answer to what was sent
// before says nothing about now. The channel is never closed if the link dies.
func (l *link) probe() <-chan struct{} {
	p := &l.prober
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answered == nil {
		p.answered = make(chan struct{})
		p.sent = l.wire.Now()
		go l.sendProbes(p.answered)
		return p.answered
	}
	if p.next == nil {
		p.next = make(chan struct{})
	}
	return p.next
}

// sendProbes sends a probe, and another one while somebody waits for it. It returns
// when nobody does, or when the link has died.
func (l *link) sendProbes(answered chan struct{}) {
	p := &l.prober
	for answered != nil {
		sent := time.Now()
		ch, requests, err := l.conn.OpenChannel(probeType, nil)
		switch _, refused := err.(*ssh.OpenChannelError); { //nolint:errorlint // x/crypto returns it bare
		case err == nil: // a server that opens whatever it is asked for
			go ssh.DiscardRequests(requests)
			_ = ch.Close()
		case !refused:
			l.wire.Die(err)
			return
		}
		took := time.Since(sent)
		l.noteRoundTrip(max(took, 1))
		l.entry.tally.roundTrips.Observe(took.Seconds())

		close(answered)
		p.mu.Lock()
		answered, p.next = p.next, nil
		p.answered = answered
		p.sent = l.wire.Now()
		p.mu.Unlock()
	}
}

// unanswered is for how long a probe has been unanswered; 0 if none is.
func (l *link) unanswered() time.Duration {
	p := &l.prober
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answered == nil {
		return 0
	}
	return l.wire.Now() - p.sent
}

// sinceProbe is how long ago the last probe was sent.
func (l *link) sinceProbe() time.Duration {
	p := &l.prober
	p.mu.Lock()
	defer p.mu.Unlock()
	return l.wire.Now() - p.sent
}

// noteRoundTrip records how long the answer to a probe took.
func (l *link) noteRoundTrip(took time.Duration) {
	if fastest := l.fastest.Load(); fastest == 0 || int64(took) < fastest {
		l.fastest.Store(int64(took))
	}
	l.roundTrip.Store(int64(took))
}

// roundTrips returns how long the answer to the last probe took, and to the one that
// was answered fastest; 0 before the first.
func (l *link) roundTrips() (last, fastest time.Duration) {
	return time.Duration(l.roundTrip.Load()), time.Duration(l.fastest.Load())
}

// answersProbes tells whether the bastion has answered a probe. Not every server
// does: of one that never has, an unanswered probe says nothing.
func (l *link) answersProbes() bool { return l.roundTrip.Load() > 0 }

// ignoresProbes tells whether the bastion has left the first probe unanswered, and has
// said other things since.
func (l *link) ignoresProbes() bool {
	if l.answersProbes() {
		return false
	}
	unanswered := l.unanswered()
	return unanswered > 0 && l.wire.LastHeard() > l.wire.Now()-unanswered+probeGrace
}

const (
	// probeGrace is how long the first probe may take.
	probeGrace = time.Second
	// proveTimeout is how long proveAlive waits for a bastion that is alive: one that
	// says other things and does not answer the probe is believed.
	proveTimeout = 5 * time.Second
	// giveUpTime is how long x/crypto may take from ending its channels to closing the
	// connection, having found a breach of the protocol.
	giveUpTime = 250 * time.Millisecond
)

// proveAlive tells whether a channel was closed by the bastion, and not by x/crypto
// as it gave the connection up: by one round trip, if the connection is not known
// to be dead. It returns early when stop is closed.
func (l *link) proveAlive(stop <-chan struct{}) bool {
	if l.wire.IsDead() {
		return false
	}
	asked := l.wire.Now()
	answered := l.probe()
	timeout := giveUpTime
	if l.answersProbes() {
		timeout = proveTimeout
		l.beginWrite() // a server that never answers one keeps nobody waiting
		defer l.endWrite()
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case <-answered:
			return !l.wire.IsDead()
		case <-l.wire.Dead():
			return false
		case <-stop:
			return true
		case <-timer.C:
			if !l.answersProbes() || l.wire.LastHeard() > asked {
				return true
			}
			timer.Reset(proveTimeout)
		}
	}
}
