package tunnel

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestManyOpensThroughSilence: more opens to one target than may be unanswered
// wait while the bastion is silent, as fewer do, and once it speaks again until
// the target has had time to answer: it is not to blame for the silence.
func TestManyOpensThroughSilence(t *testing.T) {
	sshtest.Takes(t, 4*time.Second)
	t.Parallel()
	const slow, prompt = "slow:80", "prompt:80"
	addr := listen(t, echo)
	b := newBench(t, quick(), func(o *sshtest.BastionOptions) {
		o.Dial = func(ctx context.Context, network, target string) (net.Conn, error) {
			if target == slow {
				time.Sleep(300 * time.Millisecond)
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	roundTrip(t, mustDial(t, b.Handle, prompt))
	m := b.pool.activeMembers()[0]
	b.link.Freeze(sshtest.Both)
	var opens sync.WaitGroup
	open := func(target string) {
		opens.Go(func() {
			c, err := dialFor(t, b.Handle, target, sshtest.Patience)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	open(prompt)
	for range maxPendingOpensPerTarget {
		open(slow)
	}
	sshtest.Eventually(t, 10*time.Second, "they are sent", func() bool { return m.opens.pending() == maxPendingOpensPerTarget+1 })
	time.Sleep(sshconn.StallAfter + time.Second) // the silence
	for range 10 {
		open(slow)
	}
	time.Sleep(100 * time.Millisecond) // they wait, or have failed
	b.link.Thaw(sshtest.Both)
	opens.Wait()
}
