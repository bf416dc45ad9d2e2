package pool

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestDeafBastion: a connection that brings bytes, but on which the bastion does not
// hear us, counts as stalled. Another one takes the new channels; what the old one
// brings goes on.
func TestDeafBastion(t *testing.T) {
	t.Parallel()
	sshtest.Takes(t, 11*time.Second)
	set := quick()
	set.ServerAliveInterval, set.ServerAliveCountMax = time.Second, 3
	logs := observed(&set)
	b := newBench(t, set, nil)
	stream := mustDial(t, b.Pool, listen(t, func(c net.Conn) {
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}))
	if _, err := io.ReadFull(stream, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 5*time.Second, "a probe is answered", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.members[0].client.RoundTrip() > 0
	})

	b.link.Freeze(sshtest.Up)
	addr := listen(t, echo)
	if c, err := dialFor(t, b.Pool, addr, 100*time.Millisecond); err == nil {
		_ = c.Close()
		t.Fatal("dialed through a frozen link")
	}
	sshtest.Eventually(t, 30*time.Second, "another connect", func() bool {
		if _, err := io.ReadFull(stream, make([]byte, 1)); err != nil {
			t.Fatalf("the stream: %v", err)
		}
		return b.link.Accepted() == 2
	})
	b.link.Thaw(sshtest.Up) // for the new one, and the old one as well
	sshtest.Eventually(t, 10*time.Second, "the new connection, and the old one again", func() bool {
		return logs.FilterMessage("connection added").Len() == 1 && logs.FilterMessage("connection responds again").Len() == 1
	})
	roundTrip(t, mustDial(t, b.Pool, addr))
	if _, err := io.ReadFull(stream, make([]byte, 100)); err != nil {
		t.Errorf("the stream, after it: %v", err)
	}
}
