package forward

import (
	"net"
	"time"
)

// lostGrace is how long the peer of a connection that was lost at its other end
// has to take what had arrived.
const lostGrace = time.Second

// lossy is a connection that tells when what it goes through is lost; see
// tunnel.Conn.
type lossy interface {
	AfterLost(f func(ended bool)) (stop func() bool)
}

// endIfLost ends conn soon after other, which it is joined to, is lost. A peer
// that does not read, or has got all and says no more, would keep it for as long
// as it likes: nothing is read of other then, nor written to it. Stop undoes that.
func endIfLost(conn, other net.Conn) (stop func() bool) {
	l, ok := Layer[lossy](other)
	if !ok {
		return func() bool { return false }
	}
	return l.AfterLost(func(ended bool) {
		soon := time.Now().Add(lostGrace)
		_ = conn.SetReadDeadline(soon)
		if !ended { // or else what is still to be written is the rest of it
			_ = conn.SetWriteDeadline(soon)
		}
	})
}
