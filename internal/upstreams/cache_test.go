package upstreams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// oracle answers lookups as its fields say.
type oracle struct {
	mu      sync.Mutex
	lookups int
	answer  []string
	err     error
	takes   time.Duration
}

func (o *oracle) look(ctx context.Context) ([]string, error) {
	o.mu.Lock()
	o.lookups++
	answer, err, takes := o.answer, o.err, o.takes
	o.mu.Unlock()
	select {
	case <-time.After(takes):
		return answer, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// says makes lookups answer this, or fail if there is none.
func (o *oracle) says(err error, answer ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer, o.err = answer, err
}

// cacheTest is a cache in a bubble.
type cacheTest struct {
	*oracle
	*cache
	t *testing.T
	validity
}

// inBubble runs a test of a cache with a clock of its own. An answer takes 10 ms.
func inBubble(t *testing.T, v validity, run func(c *cacheTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cacheTest{&oracle{takes: 10 * time.Millisecond}, newCache(), t, v}
		run(c)
		_ = c.Destruct()
		synctest.Wait() // no lookup goes on: the bubble would not end
	})
}

// want asks, and wants an answer or an error with this text, how long it takes and how
// many lookups there have been.
func (c *cacheTest) want(answer string, takes time.Duration, lookups int) {
	c.t.Helper()
	began := time.Now()
	addresses, err := c.get(c.t.Context(), question{name: "web."}, c.validity, c.oracle.look)
	got := strings.Join(addresses, " ")
	if err != nil {
		got = err.Error()
	}
	if took := time.Since(began); got != answer || took != takes {
		c.t.Errorf("got %q in %v, want %q in %v", got, took, answer, takes)
	}
	synctest.Wait()
	c.oracle.mu.Lock()
	defer c.oracle.mu.Unlock()
	if c.lookups != lookups {
		c.t.Errorf("%d lookups, want %d", c.lookups, lookups)
	}
}

// sleep lets time pass, and what happens until then.
func (c *cacheTest) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

const lookupTime = 10 * time.Millisecond

func TestCacheRefreshes(t *testing.T) {
	inBubble(t, validity{refresh: time.Minute}, func(c *cacheTest) {
		c.says(nil, "a:1", "b:1")
		c.want("a:1 b:1", lookupTime, 1)
		c.sleep(53 * time.Second)
		c.says(nil, "c:1")
		c.want("a:1 b:1", 0, 1)
		// A tenth of refresh is left: the answer is there before the old one ends.
		c.sleep(2 * time.Second)
		c.want("a:1 b:1", 0, 2)
		c.sleep(lookupTime)
		c.want("c:1", 0, 2)
		// Nobody has asked for long.
		c.says(nil, "d:1")
		c.sleep(time.Hour)
		c.want("d:1", lookupTime, 3)
	})
}

func TestCacheWithoutGracePeriod(t *testing.T) {
	inBubble(t, validity{refresh: time.Minute}, func(c *cacheTest) {
		c.says(nil, "a:1")
		c.want("a:1", lookupTime, 1)
		c.says(errors.New("SERVFAIL"))
		c.sleep(59 * time.Second)
		c.want("a:1", 0, 2) // it lasts as long as it says
		c.sleep(time.Second)
		// At most one lookup a second.
		c.want("SERVFAIL", 0, 2)
		c.sleep(500 * time.Millisecond)
		c.want("SERVFAIL", lookupTime, 3)
		c.sleep(500 * time.Millisecond)
		c.want("SERVFAIL", 0, 3)
		c.says(nil, "b:1")
		c.sleep(500 * time.Millisecond)
		c.want("b:1", lookupTime, 4)
	})
}

func TestCacheGracePeriod(t *testing.T) {
	inBubble(t, validity{refresh: time.Minute, grace: time.Minute}, func(c *cacheTest) {
		c.says(nil, "a:1")
		c.want("a:1", lookupTime, 1)
		c.says(errors.New("SERVFAIL"))
		c.sleep(90 * time.Second)
		c.want("a:1", lookupTime, 2)
		c.takes = 10 * time.Second
		// Nobody waits for a server that has failed.
		for lookups := 3; lookups < 6; lookups++ {
			c.sleep(time.Second)
			c.want("a:1", 0, min(lookups, 3))
		}
		c.sleep(27 * time.Second)
		c.takes = lookupTime
		c.want("SERVFAIL", lookupTime, 4)
		c.says(nil, "b:1")
		c.sleep(time.Second)
		c.want("b:1", lookupTime, 5)
	})
}

// TestCacheNoRecords: that there are no records is an answer, which ends what was known.
func TestCacheNoRecords(t *testing.T) {
	inBubble(t, validity{refresh: time.Minute, grace: time.Hour}, func(c *cacheTest) {
		c.says(nil, "a:1")
		c.want("a:1", lookupTime, 1)
		c.says(errNoRecords)
		c.sleep(time.Minute)
		c.want("no records", lookupTime, 2)
		c.want("no records", 0, 2)
		c.says(nil, "b:1")
		c.sleep(time.Second)
		c.want("b:1", lookupTime, 3)
	})
}

// TestCacheExpires: a request that has failed makes Caddy look up again, though not
// again and again, and without an answer it keeps the one that it has.
func TestCacheExpires(t *testing.T) {
	inBubble(t, validity{refresh: time.Minute}, func(c *cacheTest) {
		c.says(nil, "a:1")
		c.want("a:1", lookupTime, 1)
		c.says(nil, "b:1")
		c.expire(question{name: "web."})
		c.want("a:1", 0, 1)
		c.sleep(time.Second)
		c.expire(question{name: "other."})
		c.expire(question{name: "web."})
		c.want("b:1", lookupTime, 2)
		c.sleep(time.Second)
		c.says(errors.New("SERVFAIL"))
		c.expire(question{name: "web."})
		c.want("b:1", lookupTime, 3)
		c.want("b:1", 0, 3)
		c.says(nil, "c:1")
		c.sleep(time.Second)
		c.want("b:1", 0, 4)
		c.sleep(lookupTime)
		c.want("c:1", 0, 4)
		c.expireAll()
		c.want("c:1", lookupTime, 5)
	})
}

// TestCacheSharesLookups: a hundred requests wait for one lookup, and none for that of
// another name. One that leaves ends it for nobody else.
func TestCacheSharesLookups(t *testing.T) {
	inBubble(t, validity{refresh: time.Minute}, func(c *cacheTest) {
		c.takes = time.Second
		c.says(nil, "a:1")
		leaving, leave := context.WithCancel(c.t.Context())
		var waiting sync.WaitGroup
		for i := range 100 {
			waiting.Go(func() {
				from, want := c.t.Context(), "[a:1] <nil>"
				if i%2 == 0 {
					from, want = leaving, "[] context canceled"
				}
				addresses, err := c.get(from, question{name: "web."}, c.validity, c.oracle.look)
				if got := fmt.Sprint(addresses, err); got != want {
					c.t.Errorf("got %s, want %s", got, want)
				}
			})
		}
		synctest.Wait()
		quick := &oracle{answer: []string{"q:1"}}
		if addresses, err := c.get(c.t.Context(), question{name: "quick."}, c.validity, quick.look); err != nil || !slices.Equal(addresses, quick.answer) {
			c.t.Errorf("another name: %q, %v", addresses, err)
		}
		leave()
		waiting.Wait()
		c.want("a:1", 0, 1)
	})
}

// TestCacheIsBounded: clients that choose names do not fill the memory.
func TestCacheIsBounded(t *testing.T) {
	inBubble(t, validity{refresh: time.Minute}, func(c *cacheTest) {
		c.says(nil, "a:1")
		for i := range 3 * maxEntries {
			if _, err := c.get(c.t.Context(), question{name: fmt.Sprint(i)}, c.validity, c.oracle.look); err != nil {
				c.t.Fatal(err)
			}
		}
		if n := len(c.entries); n != maxEntries {
			c.t.Errorf("%d entries", n)
		}
	})
}

// TestCacheFlood: a client that chooses names whose servers are slow, and leaves, neither
// piles up lookups nor takes the answers of others away.
func TestCacheFlood(t *testing.T) {
	inBubble(t, validity{refresh: time.Minute, grace: time.Hour}, func(c *cacheTest) {
		c.says(nil, "a:1")
		c.want("a:1", lookupTime, 1)
		left, leave := context.WithCancel(c.t.Context())
		leave()
		var running atomic.Int32
		slow := func(ctx context.Context) ([]string, error) {
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		for i := range 10 * maxEntries {
			if _, err := c.get(left, question{name: fmt.Sprint(i)}, c.validity, slow); !errors.Is(err, context.Canceled) {
				c.t.Fatal(err)
			}
			synctest.Wait()
		}
		if n := running.Load(); n > maxEntries {
			c.t.Errorf("%d lookups are running", n)
		}
		for i := range 10 * maxEntries {
			failing := func(context.Context) ([]string, error) { return nil, errNoRecords }
			if _, err := c.get(c.t.Context(), question{name: fmt.Sprint("no", i)}, c.validity, failing); !errors.Is(err, errNoRecords) {
				c.t.Fatal(err)
			}
		}
		c.want("a:1", 0, 1)
	})
}

// TestCacheOfManyNames: more names than there is room for, all of which have answers, do
// not end each other's lookups.
func TestCacheOfManyNames(t *testing.T) {
	inBubble(t, validity{refresh: time.Second}, func(c *cacheTest) {
		c.says(nil, "a:1")
		for i := range 20 * maxEntries {
			go func() {
				if _, err := c.get(c.t.Context(), question{name: fmt.Sprint(i % (3 * maxEntries))}, c.validity, c.oracle.look); err != nil {
					c.t.Error(err)
				}
			}()
			c.sleep(lookupTime / 20)
		}
		c.sleep(lookupTime)
	})
}

// TestCacheEnds: with the last configuration that uses it, a cache ends the lookups.
func TestCacheEnds(t *testing.T) {
	inBubble(t, validity{refresh: time.Minute}, func(c *cacheTest) {
		c.takes = time.Hour
		key := cacheKey{"a tunnel", "options"}
		first, err := acquireCache(key)
		if err != nil {
			c.t.Fatal(err)
		}
		second, _ := acquireCache(key)
		if first != second {
			c.t.Error("a reload finds another cache")
		}
		done := make(chan error)
		go func() { // returns when the cache ends
			_, err := first.get(c.t.Context(), question{name: "web."}, c.validity, c.oracle.look)
			done <- err
		}()
		synctest.Wait()
		_ = releaseCache(key)
		synctest.Wait()
		select {
		case err := <-done:
			c.t.Errorf("the lookup ended early: %v", err)
		default:
		}
		_ = releaseCache(key)
		if err := <-done; !errors.Is(err, context.Canceled) {
			c.t.Errorf("got %v", err)
		}
	})
}
