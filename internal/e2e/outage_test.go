//go:build linux

package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestOutage: a network that is away for 14 seconds, which is less than
// server_alive_interval and server_alive_count_max permit, cuts nothing off. New
// requests fail after dial_timeout, and do not wait for its return.
//
// TCP sends what was lost again after 12 and after 25 seconds: for a while that ends
// shortly before that, there is a time of 20 seconds to be late.
func TestOutage(t *testing.T) {
	sshtest.Takes(t, 20*time.Second)
	for name, options := range map[string][]string{"defaults": nil, "no keepalive": {"server_alive_interval 0"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait, mostly
			b := newBastion(t, "")
			b.serveTCP("127.0.0.1:7", echo)
			port := sshtest.NewPort(t)
			c := startCaddy(t, func(c *caddy) string {
				return c.caddyfile(b.tunnel("prod", append(options, "connect_timeout 10s")...), wrapper(port), proxied) + c.site(port, "respond hello")
			})
			c.wantServed()
			ws, raw := c.websocket(), dialRaw(t, port)
			ws.exchange("hello")
			raw.exchange("hello")
			download := c.download("/size/100000?chunk=1000&every=100ms")

			b.netns.Unplug()
			start := time.Now()
			if _, err := ws.Write([]byte("meanwhile")); err != nil { // something that waits for an answer
				t.Fatal(err)
			}
			sshtest.Eventually(t, patience, "the stall", func() bool { return c.logged("connection stalled") })
			answered := 0
			for time.Since(start) < 14*time.Second {
				if a := c.get("/hello"); a.status != http.StatusGatewayTimeout && a.status != http.StatusServiceUnavailable {
					t.Errorf("a new request: %v", a)
				}
				answered++
				time.Sleep(time.Second)
			}
			b.netns.Plug()
			if answered < 2 { // the first waited to the end
				t.Error("new requests wait for the network")
			}

			if n, err := download(); n != 100000 || err != nil {
				t.Errorf("the download: %d bytes, %v", n, err)
			}
			_ = ws.SetDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(ws, make([]byte, len("meanwhile"))); err != nil {
				t.Errorf("the WebSocket: %v", err)
			}
			ws.exchange("goodbye")
			raw.exchange("goodbye")
			c.wantServed()
			if log := c.log(); strings.Contains(log, `"msg":"connection lost`) {
				t.Error("a connection was lost")
			}
		})
	}
}
