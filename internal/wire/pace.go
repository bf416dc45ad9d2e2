package wire

import "time"

// pace.go keeps x/crypto from reading ahead; see sshconn/leftover.go.

// preAuthLimit is how much a server may send until it has accepted the login. An honest one
// sends a few KiB, and sshd's longest banner is 1 MiB.
const preAuthLimit = 4 << 20

// Until x/crypto first asks how to authenticate, nobody outside has its connection.
// Nothing can be taken from its reader then, so the reader must not get ahead. By then
// a server has sent little more than its half of the key exchange.
const (
	// paceBytes is how much x/crypto gets in one piece: less than 16 packets,
	// of which the shortest has 22 bytes.
	paceBytes = 320
	// paceDelay is the time that it has to act on a piece before the next.
	paceDelay = time.Millisecond
)

// Stage is how far the login is, by how x/crypto is kept from reading ahead.
type Stage int32

// The stages of a login.
const (
	// StageExchange: up to the host key, each packet is awaited by the key
	// exchange itself.
	StageExchange Stage = iota
	// StagePaced: after it, until x/crypto asks how to authenticate.
	StagePaced
	// StageLogin: until the server has accepted the login.
	StageLogin
	// StageOpen: no limit applies.
	StageOpen
)

// Advance enters a stage, unless the connection is past it.
func (c *Conn) Advance(stage Stage) {
	for {
		now := c.stage.Load()
		if now >= int32(stage) {
			return
		}
		if c.stage.CompareAndSwap(now, int32(stage)) {
			if stage == StageOpen {
				c.patient.Store(!waitsForAcknowledgement(c.Greeting().Version))
			}
			return
		}
	}
}

// pace returns the part of p that may be read into now. It is false if the connection
// has died meanwhile.
func (c *Conn) pace(p []byte) ([]byte, bool) {
	switch stage := c.Stage(); {
	case stage >= StageLogin:
		return p, true
	case stage == StageExchange:
		c.piece = 0
		return p[:min(len(p), paceBytes)], true
	case c.piece <= 0:
		timer := time.NewTimer(paceDelay)
		defer timer.Stop()
		select {
		case <-c.Dead():
			return nil, false
		case <-timer.C:
		}
		c.piece = paceBytes
	}
	return p[:min(len(p), c.piece)], true
}
