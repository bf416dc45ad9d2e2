package forward

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// closer counts how often it was closed.
type closer struct{ closed atomic.Int32 }

func (c *closer) Close() error {
	c.closed.Add(1)
	return nil
}

func TestConnRegistry(t *testing.T) {
	t.Run("without grace", func(t *testing.T) {
		var r Registry
		var open, done closer
		r.Track(&open)
		r.Track(&done)()
		r.End(0)
		if open.closed.Load() != 1 || done.closed.Load() != 0 {
			t.Errorf("open closed %d times, done %d times", open.closed.Load(), done.closed.Load())
		}
	})

	t.Run("the same one twice", func(t *testing.T) {
		var r Registry
		var c closer
		r.Track(&c)()
		r.Track(&c)
		r.End(0)
		if c.closed.Load() != 1 {
			t.Errorf("closed %d times", c.closed.Load())
		}
	})

	t.Run("grace passes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var r Registry
			var c closer
			r.Track(&c)
			start := time.Now()
			r.End(5 * time.Second)
			if took := time.Since(start); took != 5*time.Second || c.closed.Load() != 1 {
				t.Errorf("took %s, closed %d times", took, c.closed.Load())
			}
		})
	})

	t.Run("all are done within grace", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var r Registry
			var a, b closer
			doneA, doneB := r.Track(&a), r.Track(&b)
			time.AfterFunc(time.Second, doneA)
			time.AfterFunc(2*time.Second, doneB)
			start := time.Now()
			r.End(5 * time.Second)
			if took := time.Since(start); took != 2*time.Second || a.closed.Load()+b.closed.Load() != 0 {
				t.Errorf("took %s, closed %d and %d times", took, a.closed.Load(), b.closed.Load())
			}
		})
	})

	t.Run("none is open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var r Registry
			start := time.Now()
			r.End(5 * time.Second)
			if took := time.Since(start); took != 0 {
				t.Errorf("took %s", took)
			}
		})
	})

	t.Run("too late", func(t *testing.T) {
		var r Registry
		r.End(0)
		var c closer
		done := r.Track(&c)
		done()
		if c.closed.Load() != 1 {
			t.Errorf("closed %d times", c.closed.Load())
		}
	})
}
