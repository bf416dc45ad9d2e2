package sshconn

import (
	"fmt"
	"time"
)

const (
	// StallAfter is how long something that was sent waits, with no byte from the
	// server, before the connection counts as stalled.
	StallAfter = 3 * time.Second
	// DoubtAfter is how long it waits before the server is probed: a target that does
	// not answer is no stall.
	DoubtAfter = time.Second
	// deafAfter is how long a probe may be unanswered beside an open, whatever else
	// comes in, before the connection counts as stalled.
	deafAfter = 10 * time.Second
	// keepAliveTick is how often a connection is looked at.
	keepAliveTick = time.Second
)

// KeepAlive is when to probe a silent server, and when to give it up:
// ServerAliveInterval and ServerAliveCountMax of ssh_config(5).
type KeepAlive struct {
	// Interval is how long the server may be silent. If zero or negative, for ever.
	Interval time.Duration
	// CountMax is how many probes in a row may stay unanswered.
	CountMax int
}

// Patience is how long the server may be silent before its connection is lost; 0 is
// for ever. As with ssh, that is when CountMax probes, the first after Interval, have
// each been unanswered for Interval.
func (k KeepAlive) Patience() time.Duration {
	return max(0, k.Interval) * time.Duration(k.CountMax+1)
}

// tick is how often to look at a connection.
func (k KeepAlive) tick() time.Duration {
	if k.Interval <= 0 {
		return keepAliveTick
	}
	return min(keepAliveTick, max(k.Interval/4, time.Millisecond))
}

// silentError is why a connection was closed whose probes were not answered.
type silentError struct{ after time.Duration }

func (e *silentError) Error() string {
	return fmt.Sprintf("the bastion has not responded for %s", e.after.Round(time.Millisecond))
}

// keepAlive probes the server when it has been silent, and closes the connection when
// it stays silent. Any byte that comes in is life: a server that is busy sending need
// not answer. It also finds out when the connection is stalled. It returns when the
// connection has ended.
func (c *Client) keepAlive() {
	set := c.owner.KeepAlive()
	c.transport.SetUserTimeout(set.Patience())
	ticker := time.NewTicker(set.tick())
	defer ticker.Stop()
	// What is counted are intervals, not the time alone: after a pause of this
	// process an answer may be waiting to be read.
	measured, missed := false, 0
	if set.Interval > 0 {
		c.Probe() // whether the server answers any
	}
	for {
		select {
		case <-c.Done():
			return
		case <-ticker.C:
		}
		if now := c.owner.KeepAlive(); now != set {
			set = now
			ticker.Reset(set.tick())
			c.transport.SetUserTimeout(set.Patience())
		}
		if !measured && set.Interval > 0 {
			measured = true
			c.Probe() // how long a round trip takes: sshd's first answer is late
		}

		silent := c.Silent()
		switch {
		case set.Interval <= 0 || silent < set.Interval:
			missed = 0
		case silent < time.Duration(missed+1)*set.Interval:
		case missed >= set.CountMax && c.answersProbes():
			c.Close(&silentError{silent})
			return
		default:
			missed++
			if c.unansweredFor() == 0 {
				c.owner.Probing(silent)
				c.Probe()
			}
		}

		c.watchStall()
		c.owner.Tick()
	}
}
