package tunnel

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestDialRepeatedly: while nothing answers, a new SYN goes out each second, and
// the connection that comes first is taken.
func TestDialRepeatedly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		reachable := start.Add(4100 * time.Millisecond)
		var dials atomic.Int32
		// As the kernel does it: a SYN now, and after 1, 3, 7 and 15 s.
		conn, err := dialRepeatedly(t.Context(), func(ctx context.Context) (net.Conn, error) {
			dials.Add(1)
			for wait := time.Second; ; wait *= 2 {
				if !time.Now().Before(reachable) {
					conn, other := net.Pipe()
					_ = other.Close()
					return conn, nil
				}
				select {
				case <-time.After(wait):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if late := time.Since(reachable); late > redialAfter {
			t.Errorf("noticed %s late", late)
		}
		synctest.Wait() // the dials that lost have ended
		if n := dials.Load(); n < 5 {
			t.Errorf("%d dials", n)
		}
	})
}

// TestDialRepeatedlyEnds: the first error is the outcome, and so is the end of
// the context.
func TestDialRepeatedlyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		if _, err := dialRepeatedly(t.Context(), func(context.Context) (net.Conn, error) { return nil, refused }); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, errConnectTimeout)
		defer cancel()
		_, err := dialRepeatedly(ctx, func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if err == nil || !errors.Is(context.Cause(ctx), errConnectTimeout) {
			t.Errorf("got %v", err)
		}
	})
}
