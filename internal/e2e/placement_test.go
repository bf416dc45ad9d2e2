//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// placement_test.go has many streams beside requests, which a tunnel puts on
// connections of their own.

// load is clients that make one request after the other.
type load struct {
	stop     chan struct{}
	stopOnce sync.Once
	wg       sync.WaitGroup
	served   atomic.Int64

	mu  sync.Mutex
	bad []answer // that were not as they must be
}

// startLoad has clients make requests of the private web server, each on a
// connection that it keeps, until the test ends or finish is called.
func (c *caddy) startLoad(clients int) *load {
	l := &load{stop: make(chan struct{})}
	other := c.with(&http.Transport{MaxIdleConnsPerHost: clients})
	for range clients {
		// Returns when the load is stopped.
		l.wg.Go(func() { l.client(other) })
	}
	c.t.Cleanup(l.halt)
	return l
}

func (l *load) client(c *caddy) {
	for {
		if a := c.get("/hello"); a.err != nil || a.status != http.StatusOK {
			l.mu.Lock()
			l.bad = append(l.bad, a)
			l.mu.Unlock()
		} else {
			l.served.Add(1)
		}
		select {
		case <-l.stop:
			return
		case <-time.After(10 * time.Millisecond): // other tests need the processor, too
		}
	}
}

func (l *load) halt() {
	l.stopOnce.Do(func() { close(l.stop) })
	l.wg.Wait()
}

// finish ends the load and fails the test if a request failed.
func (l *load) finish(t *testing.T) {
	t.Helper()
	l.halt()
	if n := len(l.bad); n > 0 {
		t.Errorf("%d requests failed, %d were served; the first: %v", n, l.served.Load(), l.bad[0])
	}
}

// quiet is longer than a channel must be quiet to count as such.
const quiet = 12 * time.Second

// TestStreamsBesideRequests opens many WebSockets beside clients that make
// requests.
func TestStreamsBesideRequests(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options []string
		atMost  int // connections to the bastion
	}{
		{"connections by default", nil, 8},
		{"connections 1", []string{"connections 1"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBastion(t, "")
			c := b.serveSite(patient, tt.options...)
			c.wantServed()
			requests := c.startLoad(16)

			sockets := make([]*conn, 100)
			for i := range sockets {
				sockets[i] = c.websocket()
				sockets[i].exchange(fmt.Sprintf("opened %d", i))
			}
			time.Sleep(quiet)
			before := requests.served.Load()
			for i, ws := range sockets {
				ws.exchange(fmt.Sprintf("still open %d", i))
			}
			sshtest.Eventually(t, patience, "requests are served beside the WebSockets", func() bool { return requests.served.Load() > before })
			requests.finish(t)

			switch n := b.Logins(); {
			case n > tt.atMost+c.explained():
				t.Errorf("%d connections to the bastion, want %d at most", n, tt.atMost)
			case n == 1 && tt.atMost > 1:
				t.Error("the WebSockets got no connection of their own")
			}
		})
	}
}

// TestOrdinaryClients: for many clients that make ordinary requests one
// connection is enough.
func TestOrdinaryClients(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := b.serveSite(patient)
	c.wantServed()
	requests := c.startLoad(50)
	time.Sleep(5 * time.Second)
	requests.finish(t)
	c.wantLogins(b.SSHD, 1)
}
