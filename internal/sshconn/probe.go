package sshconn

import (
	"sync"
	"sync/atomic"
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

	// last is how long the answer to the last probe took, and fastest the shortest of
	// all, in nanoseconds; 0 before the first.
	last, fastest atomic.Int64
}

// Probe sends a probe and returns a channel that is closed when it is answered. If a
// probe is under way, another one follows its answer: an answer to what was sent
// before says nothing about now. The channel is never closed if the connection ends.
func (c *Client) Probe() <-chan struct{} {
	p := &c.prober
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answered == nil {
		p.answered = make(chan struct{})
		p.sent = c.transport.Now()
		go c.sendProbes(p.answered)
		return p.answered
	}
	if p.next == nil {
		p.next = make(chan struct{})
	}
	return p.next
}

// sendProbes sends a probe, and another one while somebody waits for it. It returns
// when nobody does, or when the connection has ended.
func (c *Client) sendProbes(answered chan struct{}) {
	p := &c.prober
	for answered != nil {
		sent := time.Now()
		ch, requests, err := c.conn.OpenChannel(probeType, nil)
		switch _, refused := err.(*ssh.OpenChannelError); { //nolint:errorlint // x/crypto returns it bare
		case err == nil: // a server that opens whatever it is asked for
			go ssh.DiscardRequests(requests)
			_ = ch.Close()
		case !refused:
			c.Close(err)
			return
		}
		took := time.Since(sent)
		nanoseconds := max(int64(took), 1)
		if fastest := p.fastest.Load(); fastest == 0 || nanoseconds < fastest {
			p.fastest.Store(nanoseconds)
		}
		p.last.Store(nanoseconds)
		c.owner.Probed(took)

		close(answered)
		p.mu.Lock()
		answered, p.next = p.next, nil
		p.answered = answered
		p.sent = c.transport.Now()
		p.mu.Unlock()
	}
}

// unansweredFor is for how long a probe has been unanswered; 0 if none is.
func (c *Client) unansweredFor() time.Duration {
	p := &c.prober
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answered == nil {
		return 0
	}
	return c.transport.Now() - p.sent
}

// sinceProbe is how long ago the last probe was sent.
func (c *Client) sinceProbe() time.Duration {
	p := &c.prober
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.transport.Now() - p.sent
}

// RoundTrip returns how long the answer to the last probe took; 0 before the first.
func (c *Client) RoundTrip() time.Duration {
	last, _ := c.roundTrips()
	return last
}

// roundTrips returns how long the answer to the last probe took, and to the one that
// was answered fastest; 0 before the first.
func (c *Client) roundTrips() (last, fastest time.Duration) {
	return time.Duration(c.prober.last.Load()), time.Duration(c.prober.fastest.Load())
}

// answersProbes reports whether the server has answered a probe. Not every server
// does: of one that never has, an unanswered probe says nothing.
func (c *Client) answersProbes() bool { return c.prober.last.Load() > 0 }

// ignoresProbes reports whether the server has left the first probe unanswered, and has
// said other things since.
func (c *Client) ignoresProbes() bool {
	if c.answersProbes() {
		return false
	}
	unanswered := c.unansweredFor()
	return unanswered > 0 && c.transport.LastHeard() > c.transport.Now()-unanswered+probeGrace
}

const (
	// probeGrace is how long the first probe may take.
	probeGrace = time.Second
	// proveTimeout is how long proveAlive waits for a server that is alive: one that
	// says other things and does not answer the probe is believed.
	proveTimeout = 5 * time.Second
	// giveUpTime is how long x/crypto may take from ending its channels to closing the
	// connection, having found a breach of the protocol.
	giveUpTime = 250 * time.Millisecond
)

// proveAlive reports whether a channel was closed by the server, and not by x/crypto
// as it gave the connection up: by one round trip, if the connection is not known
// to be dead. It returns early when stop is closed.
func (c *Client) proveAlive(stop <-chan struct{}) bool {
	if c.IsDone() {
		return false
	}
	asked := c.transport.Now()
	answered := c.Probe()
	timeout := giveUpTime
	if c.answersProbes() {
		timeout = proveTimeout
		c.beginWrite() // a server that never answers one keeps nobody waiting
		defer c.endWrite()
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case <-answered:
			return !c.IsDone()
		case <-c.Done():
			return false
		case <-stop:
			return true
		case <-timer.C:
			if !c.answersProbes() || c.transport.LastHeard() > asked {
				return true
			}
			timer.Reset(proveTimeout)
		}
	}
}
