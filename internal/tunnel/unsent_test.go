package tunnel

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// TestUnsentWaits: a packet that the socket does not take counts as one that
// waits for the bastion, though its writer has gone on and the bastion has
// been heard of since.
func TestUnsentWaits(t *testing.T) {
	ours, theirs := net.Pipe()
	l := &link{wire: wire.New(ours, stallAfter)}
	defer l.wire.Die(net.ErrClosed)
	l.beginWrite()
	_, _ = l.wire.Write([]byte("packet"))
	l.endWrite()
	l.wire.SetHeard(l.wire.Now())
	sshtest.Eventually(t, 10*time.Second, "doubt about the bastion", func() bool { return l.waitingFor() > time.Millisecond })
	if _, err := io.ReadFull(theirs, make([]byte, len("packet"))); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 10*time.Second, "an end of the doubt", func() bool { return l.waitingFor() == 0 })
}
