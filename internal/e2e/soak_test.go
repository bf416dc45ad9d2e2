//go:build linux

package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// soak_test.go has traffic of all kinds at once, for as long as SOAK says, while
// one fault after the other strikes. SOAK_SEED repeats a sequence of faults. It
// runs only where it is asked for.

// shortSoak is the least time in which Caddy is also stopped.
const shortSoak = 15 * time.Second

// soak is a run of it.
type soak struct {
	*rig
	seed   uint64
	choice []*fault

	// The sequence's own; nobody else touches these.
	faults      int
	struck      map[*fault]int
	longestBack time.Duration
	first, last counts

	// mu guards the fields below.
	mu       sync.Mutex
	windows  map[*traffic][]window
	tallies  map[*traffic]*tally
	reported int
}

// window is a time in which operations may fail.
type window struct {
	name     string
	from, to time.Time // to is zero until service is back
}

// tally counts operations of a kind.
type tally struct {
	all, failed, late, wrong, hung int
	longest                        time.Duration // waited, beyond what it takes
}

func TestSoak(t *testing.T) {
	t.Parallel()
	text := os.Getenv("SOAK")
	if text == "" {
		t.Skip("set SOAK; see make soak")
	}
	lasts, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SOAK: %v", err)
	}
	seed := rand.Uint64N(1_000_000) //nolint:gosec // to be repeated, not secret
	if text := os.Getenv("SOAK_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SOAK_SEED: %v", err)
		}
	}
	t.Logf("seed %d", seed)

	s := &soak{
		rig: newRig(t, trafficKinds...), seed: seed, struck: make(map[*fault]int),
		windows: make(map[*traffic][]window), tallies: make(map[*traffic]*tally),
	}
	for _, k := range trafficKinds {
		s.tallies[k] = new(tally)
	}
	for _, f := range faultKinds {
		if lasts > shortSoak || !f.stops {
			s.choice = append(s.choice, f)
		}
	}
	// At rest there is one connection for each tunnel.
	const frugal = "connections 1\n"
	s.options = frugal
	s.reload(s.config())
	s.allServed(time.Now(), 2*patience)
	s.first = s.settle()
	s.options = ""
	s.reload(s.config())

	start := time.Now()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for _, k := range trafficKinds {
		for i := range 2 {
			clients.Go(func() { s.client(k, rand.New(rand.NewPCG(seed, uint64(i))), stop) }) //nolint:gosec // the same
		}
	}
	random := rand.New(rand.NewPCG(seed, 1<<32)) //nolint:gosec // the same
	for time.Since(start) < lasts {
		f := s.choice[random.IntN(len(s.choice))]
		rest, hold := between(random, 2*time.Second, 6*time.Second), between(random, 500*time.Millisecond, holdAtMost)
		if lasts <= shortSoak {
			hold = min(hold, 3*time.Second)
		}
		if f.atMost > 0 {
			hold = min(hold, f.atMost)
		}
		if f.holds > 0 {
			hold = f.holds
		}
		time.Sleep(rest)
		s.strike(f, hold)
	}
	close(stop)
	clients.Wait()
	took := time.Since(start)

	s.options = frugal
	s.reload(s.config())
	limit := s.first
	limit.heap += 24 << 20
	if !until(100*time.Second, func() bool {
		s.last = s.count()
		time.Sleep(200 * time.Millisecond)
		return s.last.within(limit)
	}) {
		t.Error(s.leftBehind(limit))
	}
	for _, k := range trafficKinds {
		t.Logf("%s: %+v", k.name, *s.tallies[k])
		if s.tallies[k].all == 0 {
			t.Errorf("%s: no operation", k.name)
		}
	}
	if dir := os.Getenv("RELIABILITY"); dir != "" {
		reportSoak(t, filepath.Join(dir, "soak.md"), s, took)
	}
}

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// client does one operation after the other. It returns once stop is closed.
func (s *soak) client(k *traffic, random *rand.Rand, stop <-chan struct{}) {
	for {
		o := &operation{lasts: between(random, 0, 3*time.Second)}
		s.operate(k, o)
		s.record(k, o)
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// record counts an operation, and fails the test if it ended as it must not.
func (s *soak) record(k *traffic, o *operation) {
	end := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.tallies[k]
	c.all++
	c.longest = max(c.longest, o.took-o.lasts)
	disturbed, byTarget := "", false
	for _, w := range s.windows[k] {
		if w.from.Before(end) && (w.to.IsZero() || w.to.After(o.start)) {
			disturbed = w.name
			byTarget = byTarget || strings.HasPrefix(w.name, "target ")
		}
	}
	trouble := ""
	switch o.outcome() {
	case whole:
		return
	case failed:
		if disturbed != "" {
			c.failed++
			return
		}
		c.late++
		trouble = "failed without a fault"
	case cut:
		if byTarget && k.raw {
			c.failed++
			return
		}
		c.wrong++
		trouble = "cut short, without an error"
	case corrupt:
		c.wrong++
		trouble = "wrong"
	case hung:
		c.hung++
		trouble = "hung"
	}
	if s.reported++; s.reported <= 50 {
		s.t.Errorf("%s, begun %s, %v later: %s: %v (%s)", k.name, o.start.Format(time.TimeOnly), o.took, trouble, o.err, disturbed)
	}
}

// strike is one fault, until service is back.
func (s *soak) strike(f *fault, hold time.Duration) {
	s.faults++
	s.struck[f]++
	s.t.Logf("%s %s for %v", time.Now().Format(time.TimeOnly), f.name, hold)
	var concerned []*traffic
	for _, k := range trafficKinds {
		switch {
		case !f.concerns(k) && !strings.Contains(f.severs, k.name):
		case strings.HasPrefix(f.name, "caddy reload") && !strings.Contains(fromThere, k.name):
			// Nobody may notice. But a site moves from one user's connection to
			// another's.
		default:
			concerned = append(concerned, k)
		}
	}
	s.mu.Lock()
	for _, k := range concerned {
		s.windows[k] = append(s.windows[k], window{name: f.name, from: time.Now()})
	}
	s.mu.Unlock()
	undo := f.start(s.rig)
	time.Sleep(hold)
	undo()
	undone := time.Now()
	limit := f.back
	if limit == 0 {
		limit = soonBack
	}
	back := s.allServed(undone, limit+slack)
	s.longestBack = max(s.longestBack, back)
}

// allServed waits until each kind is served, and tells how long that took.
func (s *soak) allServed(since time.Time, limit time.Duration) time.Duration {
	var all sync.WaitGroup
	for _, k := range trafficKinds {
		all.Go(func() {
			for {
				o := new(operation)
				s.operate(k, o)
				if o.err == nil {
					break
				}
				if time.Since(since) > limit {
					s.t.Errorf("%s: not served %v after the fault was undone: %v", k.name, time.Since(since), o.err)
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if n := len(s.windows[k]); n > 0 && s.windows[k][n-1].to.IsZero() {
				s.windows[k][n-1].to = time.Now()
			}
		})
	}
	all.Wait()
	return time.Since(since)
}
