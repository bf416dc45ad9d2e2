package pool

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestLateOpens: a bastion that answers opens when nobody waits any more, and
// closes none, has as many as it may leave unanswered. What it closes makes room.
func TestLateOpens(t *testing.T) {
	key, hostKey := sshtest.NewKey(), sshtest.NewKey()
	asked, givenUp, end := make(chan struct{}), make(chan struct{}), make(chan struct{})
	m := sshtest.NewMalice(t, hostKey, "", loggedIn(func(c *sshtest.MaliceConn) {
		for i := range uint32(maxPendingOpens) {
			packet, err := c.Next(90)
			if err != nil {
				return
			}
			var open struct {
				Type string `sshtype:"90"`
				ID   uint32
				Rest []byte `ssh:"rest"`
			}
			if ssh.Unmarshal(packet, &open) != nil || open.ID != i {
				return // the test waits in vain
			}
			asked <- struct{}{}
			<-givenUp
			_ = c.Send(sshtest.ChannelConfirm{Theirs: i, Ours: i, Window: 1 << 20, MaxPacket: 1 << 15})
			_ = c.Send(sshtest.ChannelData{Theirs: i, Data: "kept for nobody"})
		}
		go func() {
			<-end
			for i := range uint32(maxPendingOpens) {
				_ = c.Send(sshtest.ChannelClose{Theirs: i})
			}
		}()
		c.Listen(true)
	}))
	set := quick()
	set.ServerAliveInterval = 0 // whose probe would be the first request
	h := open(t, configFor(t, key, hostKey.Fingerprint(), m.Addr()), set)
	dialOne := func(ctx context.Context, i int) error {
		c, err := h.Dial(ctx, Target{Network: "tcp", Address: fmt.Sprintf("target%d.internal:80", i)})
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	for i := range maxPendingOpens {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- dialOne(ctx, i) }()
		select {
		case <-asked:
		case <-time.After(sshtest.Patience):
			t.Fatalf("dial %d was not asked for", i)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		givenUp <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := dialOne(ctx, maxPendingOpens); err == nil {
		t.Error("a dial was made beside all those that the bastion has not closed")
	}
	close(end)
	sshtest.Eventually(t, 10*time.Second, "room", func() bool { return h.Status().PendingOpens == 0 })
	if err := dialOne(t.Context(), 0); err != nil {
		t.Error(err)
	}
}
