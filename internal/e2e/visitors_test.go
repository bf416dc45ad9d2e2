//go:build linux

package e2e

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// visitors are clients that ask for a page again and again. Each answer that is not the page
// fails the test.
type visitors struct {
	requests, failed atomic.Int64
	// end ends the clients, and waits for them. The test's end calls it as well.
	end func()
}

// startVisitors starts n clients of the servers.
func startVisitors(t *testing.T, n int, servers ...*caddy) *visitors {
	t.Helper()
	l := new(visitors)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	l.end = sync.OnceFunc(func() {
		close(stop)
		clients.Wait()
	})
	t.Cleanup(l.end)
	for i := range n {
		c := servers[i%len(servers)]
		clients.Go(func() { // returns when stop is closed
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				l.requests.Add(1)
				if r := c.get("/hello"); r.err != nil || r.status != http.StatusOK || r.body != "hello from web\n" {
					l.failed.Add(1)
					t.Errorf("a request failed: %v", r)
				}
			}
		})
	}
	return l
}
