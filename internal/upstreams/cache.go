package upstreams

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const (
	// maxEntries is how many answers a cache has at most.
	maxEntries = 100
	// maxWaiting is how many of these have their first lookup in progress before one
	// of them, rather than an answer, makes room for another.
	maxWaiting = maxEntries / 2
	// retryInterval is how long after a failed lookup there is another one, and how old
	// an answer is at least that a failed request makes Caddy look up again.
	retryInterval = time.Second
)

// errTooManyNames is why a lookup has ended early.
var errTooManyNames = errors.New("too many names are looked up at a time")

// caches are the caches of this process: a reload finds the answers that it needs.
var caches = caddy.NewUsagePool()

// cacheKey identifies a cache: the tunnel, and the options that its answers depend on.
type cacheKey struct{ tunnel, options string }

// acquireCache returns the cache of a key, which is to be released.
func acquireCache(key cacheKey) (*cache, error) {
	c, _, err := caches.LoadOrNew(key, func() (caddy.Destructor, error) { return newCache(), nil })
	if err != nil {
		return nil, err
	}
	return c.(*cache), nil
}

// releaseCache gives a cache back.
func releaseCache(key cacheKey) error {
	_, err := caches.Delete(key)
	return err
}

// cache has the answers to questions.
type cache struct {
	// ctx ends the lookups when the cache is destructed.
	ctx    context.Context
	cancel context.CancelFunc

	// mu guards the entries and what they have in them. No lookup is made under it.
	mu      sync.Mutex
	entries map[question]*entry
}

// entry is what is known about a question.
type entry struct {
	// addresses are of the last lookup that had an answer, at answered, which is zero if
	// there was none.
	addresses []string
	answered  time.Time
	// expired says that the answer serves only until there is a newer one.
	expired bool

	// err is why the last lookup failed, at failedAt, or nil.
	err      error
	failedAt time.Time

	// running is closed when the lookup in progress ends, which cancel makes it do; nil
	// if there is none.
	running chan struct{}
	cancel  context.CancelCauseFunc
}

// validity is how long answers serve.
type validity struct {
	refresh time.Duration
	grace   time.Duration // beyond refresh, if lookups fail
}

// lookupFunc makes a lookup.
type lookupFunc func(context.Context) ([]string, error)

func newCache() *cache {
	c := &cache{entries: make(map[question]*entry)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Destruct implements caddy.Destructor.
func (c *cache) Destruct() error {
	c.cancel()
	return nil
}

// get returns the answer to a question. It waits for a lookup if there is no answer that
// serves, and ctx has not ended: for one lookup, however many requests wait. A lookup
// begins when a tenth of refresh is left, so that requests seldom wait.
func (c *cache) get(ctx context.Context, q question, v validity, look lookupFunc) ([]string, error) {
	c.mu.Lock()
	e := c.entry(q)
	if e.running == nil && e.isDue(v) {
		var lookCtx context.Context
		e.running = make(chan struct{})
		lookCtx, e.cancel = context.WithCancelCause(c.ctx)
		go c.look(lookCtx, e, look) // returns when the lookup does; the cache's end ends it
	}
	running := e.running
	if e.isFresh(v) || running == nil || e.err != nil && e.serves(v) {
		defer c.mu.Unlock()
		return e.outcome(v)
	}
	c.mu.Unlock()

	select {
	case <-running:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return e.outcome(v)
}

// entry returns the entry of a question, in place of another one if there are too many.
func (c *cache) entry(q question) *entry {
	e := c.entries[q]
	if e != nil {
		return e
	}
	if len(c.entries) >= maxEntries {
		c.makeRoom()
	}
	e = new(entry)
	c.entries[q] = e
	return e
}

// makeRoom forgets a question, since clients may choose the names. One whose lookup has
// failed goes first. While many have no answer yet, it is one of these, and its lookup
// ends: slow names do not take the place of those that have an answer.
func (c *cache) makeRoom() {
	var failed, waiting, answered []question
	for q, e := range c.entries { // in a random order
		switch {
		case !e.answered.IsZero():
			answered = append(answered, q)
		case e.running != nil:
			waiting = append(waiting, q)
		default:
			failed = append(failed, q)
		}
	}
	switch {
	case len(failed) > 0:
		delete(c.entries, failed[0])
	case len(waiting) > maxWaiting:
		c.entries[waiting[0]].cancel(errTooManyNames)
		delete(c.entries, waiting[0])
	default:
		delete(c.entries, answered[0])
	}
}

// look makes a lookup.
func (c *cache) look(ctx context.Context, e *entry, look lookupFunc) {
	addresses, err := look(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	e.cancel(nil)
	close(e.running)
	e.running, e.err = nil, err
	switch {
	case err == nil:
		e.addresses, e.answered, e.expired = addresses, time.Now(), false
		return
	case errors.Is(err, errNoRecords): // which is an answer
		e.addresses, e.answered = nil, time.Time{}
	}
	e.failedAt = time.Now()
}

// expire makes Caddy look up a question again.
func (c *cache) expire(q question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[q]; e != nil && time.Since(e.answered) >= retryInterval {
		e.expired = true
	}
}

// expireAll makes Caddy look up everything again.
func (c *cache) expireAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		e.expired = true
	}
}

// isDue reports whether it is time for a lookup.
func (e *entry) isDue(v validity) bool {
	if e.err != nil && time.Since(e.failedAt) < retryInterval {
		return false
	}
	return !e.isFresh(v) || time.Since(e.answered) >= v.refresh-v.refresh/10
}

// isFresh reports whether the answer serves without a lookup.
func (e *entry) isFresh(v validity) bool {
	return !e.expired && !e.answered.IsZero() && time.Since(e.answered) < v.refresh
}

// serves reports whether the answer serves if the lookup fails.
func (e *entry) serves(v validity) bool {
	return !e.answered.IsZero() && time.Since(e.answered) < v.refresh+v.grace
}

// outcome returns the answer, or why there is none.
func (e *entry) outcome(v validity) ([]string, error) {
	if e.err == nil || e.serves(v) {
		return e.addresses, nil
	}
	return nil, e.err
}

var _ caddy.Destructor = (*cache)(nil)
