package pool

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// TestInboundLimit: a bastion that opens connections to a forward without end, all
// of which are accepted, has remote.MaxInbound of them, and one line in the log.
func TestInboundLimit(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	key, hostKey := sshtest.NewKey(), sshtest.NewKey()
	var refused atomic.Int64
	malice := sshtest.NewMalice(t, hostKey, "", loggedIn(func(c *sshtest.MaliceConn) {
		asked, err := c.Next(80)
		if err != nil || !bytes.Contains(asked, []byte("tcpip-forward")) || c.SendPacket([]byte{81}) != nil {
			return
		}
		go func() {
			for i := range uint32(2 * remote.MaxInbound) {
				_ = c.Send(sshtest.OpenChannel{Type: "forwarded-tcpip", Ours: i, Window: 1 << 20, MaxPacket: 1 << 15, Data: tunneltest.ForwardedTCPIP("localhost", 8080, "192.0.2.1", 4711)})
				time.Sleep(50 * time.Microsecond) // within the backlog, mostly
			}
		}()
		for {
			packet, err := c.ReadPacket()
			if err != nil {
				return
			}
			switch packet[0] {
			case 91:
				c.Did(1)
			case 92:
				refused.Add(1)
			}
		}
	}))
	set := quick()
	set.ServerAliveInterval = 0 // whose probe would be the first request
	logs := observed(&set)
	h := open(t, configFor(t, key, hostKey.Fingerprint(), malice.Addr()), set)
	ln := listenRemote(t, h, "tcp", "localhost:8080")
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	sshtest.Eventually(t, 30*time.Second, "an answer to each", func() bool { return malice.Done()+refused.Load() == 2*remote.MaxInbound })
	if malice.Done() > remote.MaxInbound || malice.Done() < remote.Backlog {
		t.Errorf("%d accepted, want %d at most", malice.Done(), remote.MaxInbound)
	}
	told := logs.FilterLevelExact(zapcore.WarnLevel).FilterMessageSnippet("refused a connection to a remote forward").Len()
	if told != 1 {
		t.Errorf("%d warnings, want 1", told)
	}
	h.mu.Lock()
	m := h.only()
	h.mu.Unlock()
	malice.Reform()
	sshtest.Eventually(t, 10*time.Second, "the count to go back", func() bool { return h.forwards.Inbound(m) == 0 })
}
