package tunnel

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestLostBesideOthers: a dial that has lost one connection after the other gives
// up, but the tunnel is not down while another one serves.
func TestLostBesideOthers(t *testing.T) {
	set := quick()
	set.MinConnections = 4
	b := newBench(t, set, nil)
	connections(t, b.Handle, 4)
	b.bastion.Misbehave(sshtest.Faults{HoldOpens: true})
	failed := make(chan error, 1)
	go func() {
		_, err := dialFor(t, b.Handle, "web:80", sshtest.Patience)
		failed <- err
	}()
	for range 3 {
		sshtest.Eventually(t, 10*time.Second, "an open", func() bool {
			b.pool.mu.Lock()
			defer b.pool.mu.Unlock()
			i := slices.IndexFunc(b.pool.active(), func(m *member) bool { return m.opens.pending() > 0 })
			if i < 0 {
				return false
			}
			l := b.pool.active()[i]
			go l.client.Close(io.ErrUnexpectedEOF) // not under mu: it closes a socket
			<-l.client.Done()
			return true
		})
	}
	err := <-failed
	if _, ok := errors.AsType[*DownError](err); ok {
		t.Errorf("it is called down: %v", err)
	}
	if _, ok := errors.AsType[*TimeoutError](err); !ok {
		t.Errorf("got %v, want a TimeoutError", err)
	}
}
