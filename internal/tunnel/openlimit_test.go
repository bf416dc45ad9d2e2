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
	b.link.Freeze(sshtest.Both)
	var opens sync.WaitGroup
	open := func() {
		opens.Go(func() {
			c, err := dialFor(t, b.Handle, addr, 20*time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	for range maxPendingOpensPerTarget {
		open()
	}
	time.Sleep(doubtAfter + time.Second) // the silence
	open()
	time.Sleep(time.Second / 2)
	b.link.Thaw(sshtest.Both)
	opens.Wait()
}
