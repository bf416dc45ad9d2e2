package tunnel

import "time"

// pace.go keeps x/crypto from reading ahead; see tunnel/leftover.go.

// loginBudget is how much a bastion may send until it has let us in. An honest one
// sends a few KiB, and sshd's longest banner is 1 MiB.
const loginBudget = 4 << 20

// Before x/crypto first asks how to authenticate, nobody outside has its
// connection: there nothing can be taken from the reader, and it must not get
// ahead in the first place. By then a server has sent little more than its half
// of the key exchange.
const (
	// paceBytes is how much x/crypto gets in one piece: less than 16 packets,
	// of which the shortest has 22 bytes.
	paceBytes = 320
	// paceDelay is the time that it has to act on a piece before the next.
	paceDelay = time.Millisecond
)

// The stages of a wire, by how x/crypto is kept from reading ahead.
const (
	// stageExchange: up to the host key, each packet is awaited by the key
	// exchange itself.
	stageExchange = iota
	// stagePaced: after it, until x/crypto asks how to authenticate.
	stagePaced
	// stageLogin: until it has let us in.
	stageLogin
	// stageOpen: what the bastion says counts for nothing but traffic.
	stageOpen
)

// advance has the wire enter a stage, unless it is past it.
func (w *wire) advance(stage int32) {
	for {
		now := w.stage.Load()
		if now >= stage || w.stage.CompareAndSwap(now, stage) {
			return
		}
	}
}

// pace returns the part of p that may be read into now. It is false if the wire
// has died meanwhile.
func (w *wire) pace(p []byte) ([]byte, bool) {
	switch stage := w.stage.Load(); {
	case stage >= stageLogin:
		return p, true
	case stage == stageExchange:
		w.piece = 0
		return p[:min(len(p), paceBytes)], true
	case w.piece <= 0:
		timer := time.NewTimer(paceDelay)
		defer timer.Stop()
		select {
		case <-w.dead():
			return nil, false
		case <-timer.C:
		}
		w.piece = paceBytes
	}
	return p[:min(len(p), w.piece)], true
}
