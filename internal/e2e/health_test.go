//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// health_test.go has upstreams that fail, and what Caddy does about them.

// TestActiveHealth takes an upstream out and in again as its checks say.
func TestActiveHealth(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	checked := func(path string) string {
		return "reverse_proxy web.internal:80 {\nhealth_uri " + path + "\nhealth_interval 100ms\ntransport ssh_tunnel prod\n}"
	}
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod", "reconnect_delay 50ms 200ms"), "",
			"handle_path /bad/* {\n"+checked("/status/500")+"\n}\nhandle {\n"+strings.Replace(checked("/hello"), "}", "lb_try_duration 0\n}", 1)+"\n}\n")
	})
	c.wantServed()
	sshtest.Eventually(t, patience, "an upstream that fails its checks is not used", func() bool {
		return c.get("/bad/hello").status == http.StatusServiceUnavailable
	})
	b.Stop()
	sshtest.Eventually(t, patience, "an upstream behind a dead bastion is not used", func() bool {
		return c.get("/hello").status == http.StatusServiceUnavailable && c.logged("no upstreams available")
	})
	b.Restart()
	c.wantServed() // nobody but the checks could find out
}

// TestPassiveHealth has two tunnels to upstreams that are called the same: what
// fails behind one says nothing about the other.
func TestPassiveHealth(t *testing.T) {
	t.Parallel()
	b, without := newBastion(t, ""), newEmptyBastion(t, "")
	c := startCaddy(t, func(c *caddy) string {
		site := ""
		for _, name := range []string{"prod", "empty"} {
			site += fmt.Sprintf("handle_path /%s/* {\nreverse_proxy web.internal:80 {\nfail_duration 1h\ntransport ssh_tunnel %s\n}\n}\n", name, name)
		}
		return c.caddyfile(b.tunnel("prod")+without.tunnel("empty"), "", site)
	})
	sshtest.Eventually(t, patience, "the upstream that fails is taken out", func() bool {
		return c.get("/empty/hello").status == http.StatusServiceUnavailable && c.logged("no upstreams available")
	})
	if !c.logged("tunnel \"empty\"", "connection refused") {
		t.Error("it was not taken out for a connect that failed")
	}
	for range 3 {
		if a := c.get("/prod/hello"); a.status != http.StatusOK {
			t.Errorf("the other tunnel's upstream: %v", a)
		}
	}
}

// TestRetry restarts the bastion under requests that may wait for it.
func TestRetry(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod"), "",
			"reverse_proxy web.internal:80 {\nlb_try_duration 15s\nlb_try_interval 50ms\ntransport ssh_tunnel prod\n}")
	})
	c.wantServed()
	b.Stop()
	before := b.web.Requests()
	answers := make(chan answer, 2)
	go func() { answers <- c.get("/size/1000") }()
	go func() { answers <- c.do(http.MethodPost, "/echo", io.LimitReader(sshtest.Body(), 1000)) }()
	sshtest.Eventually(t, patience, "the requests are tried", func() bool {
		return strings.Count(c.log(), "is down: connecting to") > 4
	})
	if n := len(answers); n != 0 {
		t.Errorf("%d requests did not wait for the bastion: %v", n, <-answers)
	}
	b.Restart()
	want := make([]byte, 1000)
	_, _ = io.ReadFull(sshtest.Body(), want)
	for range 2 {
		select {
		case a := <-answers:
			if a.status != http.StatusOK || a.body != string(want) {
				t.Errorf("retried: %v", a)
			}
		case <-time.After(patience):
			t.Fatal("no answer")
		}
	}
	if n := b.web.Requests() - before; n != 2 {
		t.Errorf("the web server got %d requests for 2", n)
	}
}
