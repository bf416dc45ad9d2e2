package sshconn

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// stall.go is about a server that answers nothing on a connection for a while. sshd
// looks names up for one connection at a time, and does nothing else for it meanwhile:
// with a resolver that is down that takes ten seconds. What is open stays, and goes on
// when the server responds again.

// ErrStalled says that an open waits on a connection that has stalled, and may be tried
// on another one.
var ErrStalled = errors.New("the bastion does not respond on this connection")

// lastFreeMargin is how long the server may have gone on sending what it had sent to
// its kernel before, besides the round trip.
const lastFreeMargin = time.Second

// stall is whether the connection is stalled.
type stall struct {
	// stalled is keepAlive's.
	stalled bool
	// mu guards begun.
	mu sync.Mutex
	// begun is closed when the connection is found stalled, and replaced when it
	// responds again.
	begun chan struct{}
}

// stallBegun returns a channel that is closed once the connection is stalled.
func (c *Client) stallBegun() <-chan struct{} {
	c.stall.mu.Lock()
	defer c.stall.mu.Unlock()
	return c.stall.begun
}

// watchStall finds out whether the connection is stalled, and tells the owner if that
// has changed.
func (c *Client) watchStall() {
	s := &c.stall
	switch {
	case !s.stalled && c.hasStalled():
		s.stalled = true
		_, roundTrip := c.roundTrips()
		name := c.lookups.blame(c.transport.LastHeard() - lastFreeMargin - roundTrip)
		c.owner.Stalled(name)
		s.mu.Lock()
		close(s.begun)
		s.mu.Unlock()
	case s.stalled && c.hasResumed():
		s.stalled = false
		s.mu.Lock()
		s.begun = make(chan struct{})
		s.mu.Unlock()
		c.owner.Responds()
	}
}

// hasResumed reports whether a server that was stalled serves the connection again: it
// has answered a probe, and without delay. It may have looked up one name of several.
func (c *Client) hasResumed() bool {
	if c.unansweredFor() > 0 {
		return c.ignoresProbes()
	}
	if last, fastest := c.roundTrips(); last >= StallAfter+fastest {
		c.Probe()
		return false
	}
	return true
}

// hasStalled reports whether the server has left unanswered for StallAfter what was
// sent to it, and a probe. sshd does while it looks a name up, for all channels of a
// connection. One that sends, but has not answered a probe for long, does not hear
// us, as behind a proxy that is stuck in one direction.
func (c *Client) hasStalled() bool {
	waits, pending := c.WaitingFor(), c.unanswered.Load() > 0
	if c.unansweredFor() == 0 {
		since := c.sinceProbe()
		if waits >= DoubtAfter && since >= waits || pending && since >= StallAfter {
			c.Probe()
		}
		return false
	}
	if c.ignoresProbes() {
		return false
	}
	_, fastest := c.roundTrips()
	return waits >= StallAfter+fastest || pending && c.answersProbes() && c.unansweredFor() >= deafAfter
}

// lookups are the opens that the server looks a name up for, in the order in which
// they were sent.
type lookups struct {
	// mu guards the fields below.
	mu      sync.Mutex
	pending []pendingLookup
	// culprit is the open that the connection stalled over, or nil.
	culprit *opening
}

// pendingLookup is an open that is not answered.
type pendingLookup struct {
	open *opening
	name string
	sent time.Duration // on the transport's clock
}

// begin records that an open is sent. Without a name there is nothing to look up.
func (p *lookups) begin(o *opening, name string, now time.Duration) {
	if name == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = append(p.pending, pendingLookup{o, name, now})
}

// end records that an open is answered, and returns how long that took, or 0 if there
// was nothing to look up.
func (p *lookups) end(o *opening, now time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.pending, func(l pendingLookup) bool { return l.open == o })
	if i < 0 {
		return 0
	}
	took := now - p.pending[i].sent
	p.pending = slices.Delete(p.pending, i, i+1)
	return took
}

// blame finds out which open the connection has stalled over, given when the server
// last had time for others, and returns its name, or "": the first that was sent
// since, or else the oldest.
func (p *lookups) blame(lastFree time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.culprit = nil
	if len(p.pending) == 0 {
		return ""
	}
	i := max(0, slices.IndexFunc(p.pending, func(l pendingLookup) bool { return l.sent >= lastFree }))
	p.culprit = p.pending[i].open
	return p.pending[i].name
}

// isCulprit reports whether the connection has stalled over an open.
func (p *lookups) isCulprit(o *opening) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.culprit == o
}
