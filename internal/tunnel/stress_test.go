package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestStress lets workers send and check data through a tunnel and through one
// that jumps through it, while the connections under both break and the handles are
// replaced, all at random. STRESS_SEED repeats a run's choices.
func TestStress(t *testing.T) {
	const duration = 10 * time.Second
	sshtest.Takes(t, duration)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("STRESS_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("STRESS_SEED=%d", seed)

	random := func(i int) *rand.Rand {
		return rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // repeatable, no secret
	}

	s := newStress(t)
	ctx, stop := context.WithTimeout(t.Context(), duration)
	defer stop()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() { s.work(ctx, random(i)) })
	}
	for i, l := range s.links {
		wg.Go(func() { s.breakLink(ctx, l, random(100+i)) })
	}
	wg.Go(func() { s.reload(ctx, random(200)) })
	within(t, duration+30*time.Second, "the stress", wg.Wait)
	t.Logf("%d dials failed, %d streams were complete, %d were cut, %d were left",
		s.undialed.Load(), s.complete.Load(), s.cut.Load(), s.left.Load())
	if s.complete.Load() == 0 || s.cut.Load() == 0 {
		t.Error("that was no stress")
	}
	s.end()
}

// stress is two bastions, the second reached through the first, with a connection
// before each, and the handles on both tunnels that are in use.
type stress struct {
	t     *testing.T
	links []*sshtest.Link
	cfgs  [2]Config
	echo  string

	// mu guards the fields below.
	mu      sync.Mutex
	handles [2]*Handle
	keys    map[string]bool

	undialed, complete, cut, left atomic.Int64
}

func newStress(t *testing.T) *stress {
	key := sshtest.NewKey()
	second := bastionFor(t, key, nil)
	link2 := sshtest.NewLink(t, second.Addr())
	first := bastionFor(t, key, func(o *sshtest.BastionOptions) { o.Config.RekeyThreshold = 1 << 20 })
	link1 := sshtest.NewLink(t, first.Addr())
	s := &stress{t: t, links: []*sshtest.Link{link1, link2}, keys: map[string]bool{}, echo: listen(t, echo)}
	s.cfgs[0] = configFor(t, key, first.HostKeyFingerprint(), link1.Addr())
	s.cfgs[0].Name = "outer"
	s.cfgs[1] = configFor(t, key, second.HostKeyFingerprint(), link2.Addr())
	s.cfgs[1].Name = "inner"
	s.replaceHandles(Settings{}, "tester", "tester")
	return s
}

// replaceHandles is a reload: new handles are started, and then the old ones
// are closed.
func (s *stress) replaceHandles(set Settings, outerUser, innerUser string) {
	set.ReconnectMin, set.ReconnectMax = 5*time.Millisecond, 50*time.Millisecond
	set.ServerAliveInterval, set.ServerAliveCountMax = 100*time.Millisecond, 3
	set.ConnectTimeout = time.Second
	cfgs := s.cfgs
	cfgs[0].User, cfgs[1].User = outerUser, innerUser
	outer := Open(cfgs[0], set, nil)
	inner := Open(cfgs[1], set, outer)
	outer.Start()
	inner.Start()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range s.handles {
		if old != nil {
			old.Close()
		}
	}
	s.handles = [2]*Handle{outer, inner}
	s.keys[outer.Key()], s.keys[inner.Key()] = true, true
}

// reload replaces the handles, some with a change of user or settings. It
// returns when ctx ends.
func (s *stress) reload(ctx context.Context, r *rand.Rand) {
	users := []string{"tester", "other", "third"}
	for wait(ctx, r, 300*time.Millisecond) {
		s.replaceHandles(Settings{
			Linger:        []time.Duration{-1, 50 * time.Millisecond}[r.IntN(2)],
			DrainTimeout:  []time.Duration{-1, 300 * time.Millisecond, time.Minute}[r.IntN(3)],
			RekeyInterval: []time.Duration{0, 100 * time.Millisecond}[r.IntN(2)],
			Lazy:          r.IntN(4) == 0,
		}, users[r.IntN(len(users))], users[r.IntN(len(users))])
	}
}

// breakLink does bad things to a connection, and good ones. It returns when ctx ends,
// with the connection in order.
func (s *stress) breakLink(ctx context.Context, l *sshtest.Link, r *rand.Rand) {
	for wait(ctx, r, 400*time.Millisecond) {
		switch r.IntN(6) {
		case 0:
			l.Reset()
		case 1:
			l.Cut()
		case 2:
			l.SetDelay(time.Duration(r.IntN(40)) * time.Millisecond)
		case 3:
			l.SetBandwidth([]int{0, 0, 2 << 20}[r.IntN(3)])
		default:
			d := []sshtest.Direction{sshtest.Up, sshtest.Down, sshtest.Both}[r.IntN(3)]
			l.Freeze(d)
			wait(ctx, r, 800*time.Millisecond)
			l.Thaw(d)
		}
	}
	l.SetDelay(0)
	l.SetBandwidth(0)
}

// wait sleeps for up to most, and reports whether ctx goes on.
func wait(ctx context.Context, r *rand.Rand, most time.Duration) bool {
	select {
	case <-time.After(time.Duration(r.Int64N(int64(most)))):
		return true
	case <-ctx.Done():
		return false
	}
}

// work dials and sends. It returns when ctx ends.
func (s *stress) work(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		s.mu.Lock()
		h := s.handles[r.IntN(2)]
		s.mu.Unlock()
		timeout := time.Duration(1+r.IntN(2000)) * time.Millisecond
		start := time.Now()
		c, err := dialFor(s.t, h, s.echo, timeout)
		if took := time.Since(start); took > timeout+sshtest.Patience {
			s.t.Errorf("a dial with %s took %s", timeout, took)
		}
		if err != nil {
			s.undialed.Add(1)
			wait(ctx, r, 10*time.Millisecond)
			continue
		}
		s.stream(c, r)
		_ = c.Close()
	}
}

// stream sends random data, half-closes, and checks what comes back: all of it
// before an io.EOF, and a part of it before any other error.
func (s *stress) stream(c *Conn, r *rand.Rand) {
	data := make([]byte, []int{1, 1000, 40_000, 300_000}[r.IntN(4)])
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	timeout := time.Duration(1+r.IntN(3000)) * time.Millisecond
	leave := r.IntN(5) == 0
	start := time.Now()
	_ = c.SetDeadline(start.Add(timeout))
	var writing sync.WaitGroup
	writing.Go(func() {
		if leave {
			_, _ = c.Write(data[:len(data)/2])
			_ = c.Close()
			return
		}
		if _, err := c.Write(data); err == nil {
			_ = c.CloseWrite()
		}
	})
	var got bytes.Buffer
	_, err := io.Copy(&got, c)
	writing.Wait()
	if took := time.Since(start); took > timeout+sshtest.Patience {
		s.t.Errorf("a stream with %s took %s", timeout, took)
	}
	switch {
	case !bytes.HasPrefix(data, got.Bytes()):
		s.t.Errorf("wrong bytes among %d", got.Len())
	case leave:
		s.left.Add(1)
	case err == nil && got.Len() < len(data):
		s.t.Errorf("a clean end after %d of %d bytes", got.Len(), len(data))
	case err == nil:
		s.complete.Add(1)
	case errors.Is(err, io.ErrUnexpectedEOF):
		s.cut.Add(1)
	default: // its deadline
		s.left.Add(1)
	}
}

// end closes the handles and waits until nothing is left of any tunnel that there
// has been: all channels have ended, so none waits for its drain_timeout.
func (s *stress) end() {
	s.handles[1].Close()
	s.handles[0].Close()
	ours := func() (es []*shared) {
		pools.mu.Lock()
		defer pools.mu.Unlock()
		for key, p := range pools.pools {
			if s.keys[key] {
				es = append(es, p)
			}
		}
		return es
	}
	sshtest.Eventually(s.t, 15*time.Second, "the tunnels' end", func() bool { return len(ours()) == 0 })
	sshtest.Eventually(s.t, 10*time.Second, "the connections' end", func() bool {
		return s.links[0].Active() == 0 && s.links[1].Active() == 0
	})
}
