package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialtimeout"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// errPatience is why the dials of these tests give up.
var errPatience = errors.New("no answer within the test's time")

// queuedDials are dials that wait in the order in which they were begun.
type queuedDials struct {
	p *Pool
	// got receives each as it ends, and ended keeps how.
	got   chan dialed
	links map[int]*member
	errs  map[int]error
}

// dialed is a dial that has ended.
type dialed struct {
	n   int
	l   *member
	err error
}

// dial begins one, and returns when it waits or has ended.
func (q *queuedDials) dial(ctx context.Context, n int, w *placement) {
	go func() {
		m, err := q.p.pick(ctx, w)
		q.got <- dialed{n, m, err}
	}()
	synctest.Wait()
	time.Sleep(time.Millisecond)
}

// ended returns those that have ended since, in order.
func (q *queuedDials) ended() (ended []int) {
	synctest.Wait()
	for {
		select {
		case d := <-q.got:
			q.links[d.n], q.errs[d.n] = d.l, d.err
			ended = append(ended, d.n)
		default:
			return ended
		}
	}
}

// inQueue runs a test of dials on one connection.
func inQueue(t *testing.T, test func(t *testing.T, q *queuedDials, m *member)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newTestMember(Request, 0, 0)
		m.client.Transport().Since = time.Now()
		m.conns = map[*Conn]*activity{}
		p := crew(1, 1, m)
		defer p.end()
		p.running = true // in place of maintain
		test(t, &queuedDials{p: p, got: make(chan dialed, 10000), links: map[int]*member{}, errs: map[int]error{}}, m)
	})
}

func placementFor(target string) *placement {
	return &placement{line: lineKey{class: Request, target: target}}
}

// withTimeout is a dial's context.
func withTimeout(t *testing.T) context.Context {
	ctx, cancel := dialtimeout.With(t.Context(), 3*time.Second, errPatience)
	t.Cleanup(cancel)
	return ctx
}

// TestQueueOrder: the dials to a target get their turn in the order in which they
// came, one for each answer, and those that wait take up no place.
func TestQueueOrder(t *testing.T) {
	inQueue(t, func(t *testing.T, q *queuedDials, m *member) {
		const dials = maxPendingOpensPerTarget + 200
		for n := range dials {
			q.dial(withTimeout(t), n, placementFor("web:80"))
		}
		if n := len(q.ended()); n != maxPendingOpensPerTarget || m.channels != n || m.opens.pending() != n {
			t.Fatalf("%d opens at once; %d channels, %d pending", n, m.channels, m.opens.pending())
		}
		for n := maxPendingOpensPerTarget; n < dials; n++ {
			m.Answered("web:80")
			if got := q.ended(); !slices.Equal(got, []int{n}) {
				t.Fatalf("an answer let %v go, want %d", got, n)
			}
		}
		if m.channels != dials {
			t.Errorf("%d channels", m.channels)
		}
	})
}

// TestQueueOthers: a target that does not answer holds up no other, and is full
// alone.
func TestQueueOthers(t *testing.T) {
	inQueue(t, func(t *testing.T, q *queuedDials, m *member) {
		for n := range 2 * maxPendingOpensPerTarget {
			q.dial(withTimeout(t), n, placementFor("hole:80"))
		}
		q.ended()
		for n := range 100 {
			q.dial(withTimeout(t), 1000+n, placementFor("web:80"))
			if got := q.ended(); !slices.Equal(got, []int{1000 + n}) {
				t.Fatalf("beside a target that does not answer got %v", got)
			}
			m.Answered("web:80")
		}
		// It is the target that is silent, not the bastion.
		time.Sleep(2 * time.Second)
		m.client.Transport().SetHeard(m.client.Age() + 10*time.Second)
		time.Sleep(sshconn.DoubtAfter)
		q.ended()
		q.dial(withTimeout(t), 2000, placementFor("hole:80"))
		got := q.ended()
		refused, ok := errors.AsType[*failure.OpenError](q.errs[2000])
		if !slices.Equal(got, []int{2000}) || !ok || refused.Reason != failure.OpenPending {
			t.Errorf("one more got %v", q.errs[2000])
		}
	})
}

// TestQueueFull: dials wait for a place as long as places become free, and get
// them in the order in which they came, whatever their targets. When none does any
// more they fail, by then.
func TestQueueFull(t *testing.T) {
	inQueue(t, func(t *testing.T, q *queuedDials, m *member) {
		q.p.mu.Lock()
		m.channels = maxChannels
		q.p.mu.Unlock()
		for n := range 10 {
			q.dial(withTimeout(t), n, placementFor(fmt.Sprintf("web%d:80", n%3)))
		}
		for n := range 5 {
			time.Sleep(2 * time.Second)
			if got := q.ended(); got != nil {
				t.Fatalf("%v have ended: %v", got, q.errs)
			}
			q.p.channelEnded(m)
			if got := q.ended(); !slices.Equal(got, []int{n}) || q.links[n] != m {
				t.Fatalf("a place went to %v, want %d", got, n)
			}
		}
		if m.channels != maxChannels {
			t.Errorf("%d channels", m.channels)
		}
		time.Sleep(3 * time.Second)
		if got := len(q.ended()); got != 5 {
			t.Fatalf("%d gave up, want 5", got)
		}
		for n := 5; n < 10; n++ {
			if _, full := errors.AsType[*failure.FullError](q.errs[n]); !full {
				t.Errorf("got %v", q.errs[n])
			}
		}
	})
}

// TestQueueBound: no dial waits for longer than a minute.
func TestQueueBound(t *testing.T) {
	inQueue(t, func(t *testing.T, q *queuedDials, m *member) {
		for n := range 2 * maxPendingOpensPerTarget {
			q.dial(withTimeout(t), n, placementFor("slow:80"))
		}
		q.ended()
		start := time.Now()
		var gaveUp []int
		for len(gaveUp) == 0 && time.Since(start) < 2*dialtimeout.Longest {
			time.Sleep(2 * time.Second)
			m.Answered("slow:80")
			gaveUp = slices.DeleteFunc(q.ended(), func(n int) bool { return q.errs[n] == nil })
		}
		if took := time.Since(start); took < dialtimeout.Longest-3*time.Second || took > dialtimeout.Longest+3*time.Second {
			t.Errorf("the first gave up after %s", took)
		}
		for _, n := range gaveUp {
			if timeout, ok := errors.AsType[*failure.TimeoutError](q.errs[n]); !ok || !errors.Is(timeout.Cause, errPatience) {
				t.Errorf("got %v", q.errs[n])
			}
		}
	})
}

// TestQueueUnwanted: a dial that nobody waits for any more leaves the queue, and
// one that has left holds up nobody.
func TestQueueUnwanted(t *testing.T) {
	inQueue(t, func(t *testing.T, q *queuedDials, m *member) {
		for n := range maxPendingOpensPerTarget {
			q.dial(withTimeout(t), n, placementFor("web:80"))
		}
		q.ended()
		unwanted := make(chan struct{})
		w := placementFor("web:80")
		w.unwanted = unwanted
		q.dial(withTimeout(t), 100, w)
		ctx, cancel := context.WithCancel(t.Context())
		q.dial(ctx, 101, placementFor("web:80"))
		q.dial(withTimeout(t), 102, placementFor("web:80"))
		close(unwanted)
		cancel()
		if got := q.ended(); len(got) != 2 || !errors.Is(q.errs[100], errUnwanted) || !errors.Is(q.errs[101], context.Canceled) {
			t.Fatalf("%v have ended: %v", got, q.errs)
		}
		m.Answered("web:80")
		if got := q.ended(); !slices.Equal(got, []int{102}) {
			t.Errorf("the turn went to %v", got)
		}
		if n := len(q.p.queue.lines); n != 0 {
			t.Errorf("%d lines are left", n)
		}
	})
}

// TestQueueSheds: pools let go of their channels for dials that wait for a place.
func TestQueueSheds(t *testing.T) {
	inQueue(t, func(t *testing.T, q *queuedDials, m *member) {
		m.channels = maxChannels
		q.dial(withTimeout(t), 0, placementFor("web:80"))
		q.p.updateLoad(m)
		if g := q.p.generation.Load(); g != 0 {
			t.Fatal("at once")
		}
		time.Sleep(shedAfter)
		q.p.updateLoad(m)
		generation := q.p.generation.Load()
		if generation == 0 {
			t.Fatal("they did not learn of it")
		}
		q.p.updateLoad(m)
		if q.p.generation.Load() != generation {
			t.Error("they are reported over and over")
		}
		q.p.channelEnded(m)
		if got := q.ended(); !slices.Equal(got, []int{0}) {
			t.Errorf("the place went to %v", got)
		}
	})
}
