package pool

import (
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestReplacement: a connection past its budget is replaced, the generation rises, its
// channels go on, and it ends with the last of them.
func TestReplacement(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	set := quick()
	set.RekeyInterval = 300 * time.Millisecond
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	old := mustDial(t, b.Pool, addr)
	before := b.Generation()
	within(t, 10*time.Second, "a replacement", func() { <-b.Moved(before) })
	if gen := b.Generation(); gen <= before {
		t.Errorf("generation %d after %d", gen, before)
	}
	<-b.Moved(before) // still
	roundTrip(t, old)
	roundTrip(t, mustDial(t, b.Pool, addr))
	if linkOf(old).client.IsDone() {
		t.Fatal("the old connection has ended with a channel open")
	}
	_ = old.Close()
	waitGone(t, b.Pool, linkOf(old))
}

// TestUnusedConnections: a bastion that closes connections without channels is
// not logged in to over and over.
func TestUnusedConnections(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	rests := func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return !b.running && len(b.members) == 0 // a dead connection is one until its loss is known
	}
	// Two are enough, unless the machine is too busy to see both ends after the same time.
	logins := func() int { return b.bastion.Stats().Logins }
	cuts := 0
	for ; !rests(); cuts++ {
		if cuts == 5 {
			t.Fatal("it logs in over and over")
		}
		sshtest.Eventually(t, 10*time.Second, "a connection", func() bool { return logins() == cuts+1 })
		sshtest.Eventually(t, 10*time.Second, "it in use", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.only() == nil {
				return false
			}
			b.only().used = time.Now().Add(-time.Minute) // it has been idle
			return true
		})
		b.link.Cut()
		sshtest.Eventually(t, 10*time.Second, "another login, or rest", func() bool { return logins() == cuts+2 || rests() })
	}
	if cuts < 2 {
		t.Errorf("%d cuts were enough", cuts)
	}
	roundTrip(t, mustDial(t, b.Pool, addr))
	if n := logins(); n != cuts+1 {
		t.Errorf("%d logins, want %d", n, cuts+1)
	}
}
