package pool

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestLostBesideOthers: a dial that has lost one connection after the other gives
// up, but the tunnel is not down while another one serves.
func TestLostBesideOthers(t *testing.T) {
	set := quick()
	set.MinConnections = 4
	b := newBench(t, set, nil)
	connections(t, b.Pool, 4)
	b.bastion.Misbehave(sshtest.Faults{HoldOpens: true})
	failed := make(chan error, 1)
	go func() {
		_, err := dialFor(t, b.Pool, "web:80", sshtest.Patience)
		failed <- err
	}()
	for range 3 {
		sshtest.Eventually(t, 10*time.Second, "an open", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			i := slices.IndexFunc(b.active(), func(m *member) bool { return m.opens.pending() > 0 })
			if i < 0 {
				return false
			}
			l := b.active()[i]
			go l.client.Close(io.ErrUnexpectedEOF) // not under mu: it closes a socket
			<-l.client.Done()
			return true
		})
	}
	err := <-failed
	if _, ok := errors.AsType[*failure.DownError](err); ok {
		t.Errorf("it is called down: %v", err)
	}
	if _, ok := errors.AsType[*failure.TimeoutError](err); !ok {
		t.Errorf("got %v, want a TimeoutError", err)
	}
}
