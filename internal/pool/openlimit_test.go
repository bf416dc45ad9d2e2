package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
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
	roundTrip(t, mustDial(t, b.Pool, prompt))
	m := b.activeMembers()[0]
	b.link.Freeze(sshtest.Both)
	var opens sync.WaitGroup
	open := func(target string) {
		opens.Go(func() {
			c, err := dialFor(t, b.Pool, target, sshtest.Patience)
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

// TestOpensAreBounded: opens that the bastion does not answer are given up by
// their dials, bounded in number, and closed when they succeed late.
func TestOpensAreBounded(t *testing.T) {
	sshtest.Takes(t, 4*time.Second)
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	roundTrip(t, mustDial(t, b.Pool, addr))
	b.bastion.Misbehave(sshtest.Faults{HoldOpens: true})

	var wg sync.WaitGroup
	for range maxPendingOpensPerTarget + 20 {
		wg.Go(func() {
			_, err := dialFor(t, b.Pool, addr, 200*time.Millisecond)
			var timeout *failure.TimeoutError
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("got %v, want a TimeoutError", err)
			}
		})
	}
	wg.Wait()
	sshtest.Eventually(t, sshtest.Patience, "as many opens to be pending as may be", func() bool {
		if b.bastion.Stats().Pending >= maxPendingOpensPerTarget {
			return true
		}
		_, _ = dialFor(t, b.Pool, addr, 200*time.Millisecond) // one may have been given up before it was sent
		return false
	})
	if n := b.bastion.Stats().Pending; n != maxPendingOpensPerTarget {
		t.Errorf("%d opens are pending, want %d", n, maxPendingOpensPerTarget)
	}
	// Once the target has been silent for a while, one more fails at once.
	sshtest.Eventually(t, 2*sshconn.StallAfter, "a refusal without waiting", func() bool {
		start := time.Now()
		_, err := dialFor(t, b.Pool, addr, 500*time.Millisecond)
		var refused *failure.OpenError
		return errors.As(err, &refused) && refused.Reason == failure.OpenPending && time.Since(start) < 400*time.Millisecond
	})
	b.bastion.Misbehave(sshtest.Faults{})
	sshtest.Eventually(t, 10*time.Second, "the late channels' end", func() bool {
		s := b.bastion.Stats()
		return s.Pending == 0 && s.Channels == 1
	})
	roundTrip(t, mustDial(t, b.Pool, addr))
}

// TestBlackholedTargetHarmsNobody: opens to another target go on.
func TestBlackholedTargetHarmsNobody(t *testing.T) {
	addr := listen(t, echo)
	b := newBench(t, quick(), func(o *sshtest.BastionOptions) {
		o.Dial = func(ctx context.Context, network, target string) (net.Conn, error) {
			if target == "blackhole:80" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return dialTo(addr)(ctx, network, target)
		}
	})
	for range maxPendingOpensPerTarget {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := b.Dial(ctx, Target{Network: "tcp", Address: "blackhole:80"})
		cancel()
		if err == nil {
			t.Fatal("the black hole answered")
		}
	}
	for i := range 20 {
		roundTrip(t, mustDial(t, b.Pool, fmt.Sprintf("web%d:80", i)))
	}
}
