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

// TestOutage: a network that is away for 25 seconds, which is less than
// server_alive_interval and server_alive_count_max permit, cuts nothing off. New
// requests fail within dial_timeout meanwhile.
func TestOutage(t *testing.T) {
	sshtest.Takes(t, 30*time.Second)
	for name, options := range map[string][]string{"defaults": nil, "no keepalive": {"server_alive_interval 0"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait, mostly
			b := newBastion(t, "")
			b.serveTCP("127.0.0.1:7", echo)
			port := sshtest.NewPort(t)
			c := startCaddy(t, func(c *caddy) string {
				return c.caddyfile(b.tunnel("prod", options...), wrapper(port), proxied) + c.site(port, "respond hello")
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
			for time.Since(start) < 25*time.Second {
				if a := c.get("/hello"); a.took > 6*time.Second || a.status != http.StatusGatewayTimeout && a.status != http.StatusServiceUnavailable {
					t.Errorf("a new request: %v", a)
				}
				time.Sleep(time.Second)
			}
			b.netns.Plug()

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
