//go:build linux

package e2e

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// faults_test.go breaks the way to the bastion, and the bastion.

// TestCutMidBody kills sshd's process while it forwards responses. Each client
// must learn that it has not got everything, however the end is marked.
func TestCutMidBody(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := b.serve("reconnect_delay 50ms 200ms") // 20 times
	const pace = "chunk=10000&every=5ms"
	paths := map[string]string{
		"Content-Length":  "/size/1000000000?" + pace,
		"chunked":         "/stream/1000000000?" + pace,
		"close-delimited": "/stream/1000000000?close&" + pace,
	}
	for round := range 20 {
		c.wantServed()
		var open sync.WaitGroup
		var bodies []func()
		for kind, path := range paths {
			body := c.open(path).Body
			if _, err := io.CopyN(io.Discard, body, 20_000); err != nil {
				t.Fatalf("round %d, %s: %v", round, kind, err)
			}
			bodies = append(bodies, func() {
				if n, err := io.Copy(io.Discard, body); err == nil {
					t.Errorf("round %d, %s: the client takes %d bytes for all", round, kind, n)
				}
			})
		}
		for _, read := range bodies {
			open.Go(read)
		}
		b.KillSessions(syscall.SIGKILL)
		open.Wait()
	}
}

// TestBastionRestarts stops sshd for a while, with requests coming all along.
func TestBastionRestarts(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	// Whoever waited for a connect would do so in vain, and for the next that nobody
	// asks for as well.
	c := b.serveSite(patient, "reconnect_delay 10m 10m")
	c.wantServed()
	b.Stop()
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if a := c.get("/hello"); a.err != nil || a.status < 500 {
			t.Fatalf("while sshd is down: %v", a)
		}
	}
	b.Restart()
	start := time.Now()
	c.wantServed()
	t.Logf("served again %v after sshd could be reached", time.Since(start))
}

// TestFrozenBastion stops sshd's processes: its kernel acknowledges what it
// gets, and nothing is answered.
func TestFrozenBastion(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod", "server_alive_interval 1s"), "",
			"reverse_proxy web.internal:80 {\ntransport ssh_tunnel prod {\nkeepalive off\n}\n}")
	})
	c.wantServed()
	settled := func(limit int) func() bool {
		return func() bool {
			n, _ := c.goroutines()
			return n <= limit
		}
	}
	const idle = 12 // one connection's goroutines, and then some
	sshtest.Eventually(t, patience, "no channel is left of the first request", settled(idle))
	before, _ := c.goroutines()
	files := c.descriptors()

	requests := []func() answer{
		func() answer { return c.get("/hang") },
		func() answer { return c.get("/size/1000000000?chunk=1&every=100ms") },
		func() answer { return c.get("/sse") },
		func() answer { return c.get("/size/1000000000?chunk=1000&every=10ms") },
		func() answer { return c.get("/stream/1000000000?chunk=100000&every=1ms") },
		func() answer { return c.do(http.MethodPost, "/sum", new(endless)) },
	}
	var wg sync.WaitGroup
	finish := func(request func() answer) {
		wg.Go(func() {
			a := request()
			if isTimeoutError(a.err) { // the client's
				t.Errorf("a request does not end: %d %v", a.status, a.err)
			}
			if a.err == nil && a.status < 500 {
				t.Errorf("a request came to a good end: %d, %d bytes", a.status, len(a.body))
			}
		})
	}
	for _, request := range requests {
		finish(request)
	}
	sshtest.Eventually(t, patience, "the requests are under way", func() bool { return b.web.Active() == len(requests) })
	start := time.Now()
	b.Pause()
	for range 20 { // these find it frozen
		finish(func() answer { return c.get("/hello") })
		time.Sleep(50 * time.Millisecond)
	}
	wg.Wait()
	t.Logf("the last request ended %v after the bastion froze", time.Since(start))

	b.Continue()
	c.wantServed()
	defer func() {
		if t.Failed() {
			_, stacks := c.goroutines()
			t.Logf("goroutines:\n%s", stacks)
		}
	}()
	// A connection that was added beside the frozen one goes after a minute.
	sshtest.Eventually(t, 6*patience, "the goroutines of the requests have ended", settled(before))
	c.client.CloseIdleConnections()
	sshtest.Eventually(t, patience, "their files are closed", func() bool { return c.descriptors() <= files })
}

// endless is a body without an end.
type endless struct{}

func (*endless) Read(p []byte) (int, error) { return len(p), nil }

// TestUnpluggedBastion takes the network away: nothing comes back, not even
// from the kernel.
func TestUnpluggedBastion(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := b.serve("server_alive_interval 1s")
	c.wantServed()
	b.netns.Unplug()
	for range 3 {
		if a := c.get("/hello"); a.status < 500 {
			t.Errorf("unplugged: %v", a)
		}
	}
	b.netns.Plug()
	c.wantServed()
}

// TestBastionDownAtStart starts Caddy before the bastion.
func TestBastionDownAtStart(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	b.Stop()
	other := sshtest.NewPort(t)
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod", "reconnect_delay 10m 10m"), "", patient+`
handle_errors 503 {
	header Retry-After {http.reverse_proxy.ssh_tunnel.retry_after}
	respond "come back later" 503
}
`) + c.site(other, `respond "here"`)
	})
	for range 5 {
		a := c.get("/hello")
		if a.status != http.StatusServiceUnavailable || a.body != "come back later" {
			t.Errorf("bastion down: %v", a)
		}
		if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 600 {
			t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
		}
	}
	response, err := c.client.Get("http://127.0.0.1:" + strconv.Itoa(other))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "here" {
		t.Errorf("the other site: %q %v", body, err)
	}
	b.Restart()
	c.wantServed()
}
