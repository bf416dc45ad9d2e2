package tunnel

import (
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// comings are bastions that let us in, and do not stay.
var comings = []attack{
	{name: "lets in and hangs up", enough: 150, script: loggedIn(func(c *sshtest.MaliceConn) { c.Did(1) })},
	{name: "opens a channel towards us and hangs up", enough: 80, script: loggedIn(func(c *sshtest.MaliceConn) {
		_ = c.Send(sshtest.OpenChannel{Type: "x11", MaxPacket: 1 << 15})
		c.Did(1)
		_, _ = c.Next(92)
	})},
}

// TestComesAndGoes: a bastion that lets us in again and again does not fill the
// log.
func TestComesAndGoes(t *testing.T) {
	sshtest.Takes(t, 15*time.Second)
	for _, a := range comings {
		t.Run(a.name, func(t *testing.T) { withstand(t, a) })
	}
}
