package tunnel

import (
	"sync"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestManyOpensThroughSilence: more opens to one target than may be unanswered
// wait while the bastion is silent, as fewer do: it is not the target that does
// not answer.
func TestManyOpensThroughSilence(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	roundTrip(t, dial(t, b.Handle, addr))
	l := b.entry.activeLinks()[0]
	b.link.Freeze(sshtest.Both)
	var opens sync.WaitGroup
	open := func(addr string) {
		opens.Go(func() {
			c, err := dialFor(t, b.Handle, addr, 20*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	other := listen(t, echo) // is answered first
	for range 10 {
		open(other)
	}
	sshtest.Eventually(t, 10*time.Second, "they are sent", func() bool { return l.opens.pending() == 10 })
	for range maxPendingOpensPerTarget {
		open(addr)
	}
	time.Sleep(doubtAfter + time.Second) // the silence
	for range 20 {
		open(addr)
	}
	time.Sleep(time.Second / 2)
	b.link.Thaw(sshtest.Both)
	opens.Wait()
}
