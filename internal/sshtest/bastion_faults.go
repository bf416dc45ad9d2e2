package sshtest

import (
	"context"
	"io"
	"net"
	"time"
)

// bastion_faults.go makes a Bastion misbehave.

// HandshakeFault is what a bastion does with a new connection instead of SSH.
type HandshakeFault int

const (
	// HandshakeProper is SSH.
	HandshakeProper HandshakeFault = iota
	// HandshakeSilent accepts, and never says a word.
	HandshakeSilent
	// HandshakeVersionOnly sends the version line, and nothing after it.
	HandshakeVersionOnly
	// HandshakeTarpit sends, at one byte a second, lines before the version
	// (RFC 4253 section 4.2) that never end. See Faults.TarpitInterval.
	HandshakeTarpit
	// HandshakeDrop closes before the version line.
	HandshakeDrop
	// HandshakeDropAfterVersion closes after it.
	HandshakeDropAfterVersion
)

// versionLine is what the half handshakes that get that far send.
const versionLine = "SSH-2.0-sshtest\r\n"

// Faults are ways in which a bastion can be bad. The zero value is a good one.
type Faults struct {
	// Handshake spoils the connections accepted from now on.
	Handshake HandshakeFault

	// TarpitInterval is the time between two bytes of HandshakeTarpit.
	// Default: 1s.
	TarpitInterval time.Duration

	// HoldAuth leaves attempts to authenticate unanswered. They are answered
	// when it is unset.
	HoldAuth bool

	// HoldOpens leaves channel opens unanswered. They are answered, late, when
	// it is unset.
	HoldOpens bool

	// HoldRequests leaves keepalives unanswered: global requests, and opens of channels
	// of an unknown type. They are answered when it is unset.
	HoldRequests bool

	// RefuseForwards refuses to listen for clients, as if the address was still
	// held by somebody else.
	RefuseForwards bool

	// CloseChannels closes each new channel as soon as it is open, before the
	// target could say anything.
	CloseChannels bool
}

// Misbehave replaces the bastion's faults. What the old ones held back and the
// new ones do not is answered now.
func (b *Bastion) Misbehave(faults Faults) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = faults
	close(b.changed)
	b.changed = make(chan struct{})
}

// currentFaults returns the faults and a channel that is closed when they are
// replaced.
func (b *Bastion) currentFaults() (Faults, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.faults, b.changed
}

// hold waits while a fault is set. It returns an error when ctx ends first.
func (b *Bastion) hold(ctx context.Context, isSet func(Faults) bool) error {
	for {
		faults, changed := b.currentFaults()
		if !isSet(faults) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// spoilHandshake does to a connection what the faults say, and reports whether
// that is the end of it. It returns when the client or Close has closed it.
func (b *Bastion) spoilHandshake(c net.Conn) bool {
	faults, _ := b.currentFaults()
	switch faults.Handshake {
	case HandshakeSilent:
		_, _ = io.Copy(io.Discard, c)
	case HandshakeVersionOnly:
		_, _ = io.WriteString(c, versionLine)
		_, _ = io.Copy(io.Discard, c)
	case HandshakeTarpit:
		b.tarpit(c, faults.TarpitInterval)
	case HandshakeDrop:
	case HandshakeDropAfterVersion:
		_, _ = io.WriteString(c, versionLine)
	default:
		return false
	}
	return true
}

// tarpit returns when a write fails, or the bastion closes.
func (b *Bastion) tarpit(c net.Conn, interval time.Duration) {
	if interval <= 0 {
		interval = time.Second
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	const line = "please wait\r\n"
	for i := 0; ; i++ {
		if _, err := c.Write([]byte{line[i%len(line)]}); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-b.ctx.Done():
			return
		}
	}
}
