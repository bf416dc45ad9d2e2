package sshconn

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
	c := New(wire.New(ours, StallAfter), nil, About{})
	defer c.Close(net.ErrClosed)
	c.beginWrite()
	_, _ = c.transport.Write([]byte("packet"))
	c.endWrite()
	c.transport.SetHeard(c.transport.Now())
	sshtest.Eventually(t, 10*time.Second, "doubt about the bastion", func() bool { return c.WaitingFor() > time.Millisecond })
	if _, err := io.ReadFull(theirs, make([]byte, len("packet"))); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 10*time.Second, "an end of the doubt", func() bool { return c.WaitingFor() == 0 })
}
