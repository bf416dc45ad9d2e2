package pool

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestListenBacklog: connections that nobody accepts freeze nothing; up to the
// backlog they wait, the rest is refused.
func TestListenBacklog(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	set := quick()
	logs := observed(&set)
	b := newBench(t, set, nil)
	addr, echoAddr := freeAddr(t), listen(t, echo)
	ln := listenRemote(t, b.Pool, "tcp", addr)
	sshtest.Eventually(t, 10*time.Second, "the forward", func() bool { return b.bastion.Stats().Forwards == 1 })

	var served, refused atomic.Int32
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := visit("tcp", addr); err == nil {
				served.Add(1)
			} else {
				refused.Add(1)
			}
		})
	}
	sshtest.Eventually(t, 10*time.Second, "72 refusals", func() bool { return refused.Load() >= 200-remote.Backlog })
	for range 5 {
		roundTrip(t, mustDial(t, b.Pool, echoAddr))
	}
	serve(t, ln, echoBack)
	wg.Wait()
	if served.Load() != remote.Backlog {
		t.Errorf("%d served, %d refused", served.Load(), refused.Load())
	}
	if n := logs.FilterMessageSnippet("too many wait").Len(); n != 1 {
		t.Errorf("%d warnings of a full queue", n)
	}
	serving(t, "tcp", addr)

	// Those that were never accepted leave no trace, and nor does anything
	// else once the listener is closed.
	_ = ln.Close()
	sshtest.Eventually(t, 10*time.Second, "no channel but the dialed ones", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.only() != nil && b.only().channels == 5 && b.forwards.Len() == 0
	})
}
