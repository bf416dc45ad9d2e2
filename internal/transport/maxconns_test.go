package transport

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// TestMaxConnsPerHost holds max_conns_per_host against http.Transport by
// itself: both classes count as one, what is above the limit waits, and what
// has been upgraded does not count.
func TestMaxConnsPerHost(t *testing.T) {
	for name, newRoundTripper := range map[string]func(*caddytest.Tunnel) http.RoundTripper{
		"as configured": func(tun *caddytest.Tunnel) http.RoundTripper {
			return newTransport(t, tun, `{"max_conns_per_host": 2}`)
		},
		"as net/http has it": func(tun *caddytest.Tunnel) http.RoundTripper {
			tr := &http.Transport{
				MaxConnsPerHost: 2,
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					return tun.Dial(ctx, tunnel.Target{Network: network, Address: address})
				},
			}
			t.Cleanup(tr.CloseIdleConnections)
			return tr
		},
	} {
		t.Run(name, func(t *testing.T) {
			web := sshtest.NewWeb(t, sshtest.WebOptions{})
			tun := new(caddytest.Tunnel)
			tr := newRoundTripper(tun)
			wantOpen := func(when string, n int64) {
				t.Helper()
				sshtest.Eventually(t, 5*time.Second, when+": as many channels are open as should be", func() bool { return tun.OpenChannels.Load() == n })
				time.Sleep(50 * time.Millisecond) // for what must not be dialed
				if got := tun.OpenChannels.Load(); got != n {
					t.Fatalf("%s: %d channels are open, want %d", when, got, n)
				}
			}
			// start makes a request in the background.
			start := func(path string, header ...string) <-chan io.ReadCloser {
				req := request(t, "GET", "http://"+web.Addr()+path, nil)
				for pair := range slices.Chunk(header, 2) {
					req.Header.Set(pair[0], pair[1])
				}
				answered := make(chan io.ReadCloser, 1)
				go func() {
					defer close(answered)
					res, err := tr.RoundTrip(req)
					if err != nil {
						t.Errorf("%s: %v", path, err)
						return
					}
					answered <- res.Body
				}()
				return answered
			}
			startEvents := func() <-chan io.ReadCloser { return start("/sse", "Accept", "text/event-stream") }
			waits := func(what string, answered <-chan io.ReadCloser) {
				t.Helper()
				select {
				case <-answered:
					t.Fatalf("%s was not held back", what)
				case <-time.After(100 * time.Millisecond):
				}
			}
			gets := func(what string, answered <-chan io.ReadCloser) io.ReadCloser {
				t.Helper()
				select {
				case body := <-answered:
					if body == nil {
						t.FailNow()
					}
					return body
				case <-time.After(sshtest.Patience):
					t.Fatalf("%s hangs", what)
				}
				return nil
			}
			read := func(body io.ReadCloser) {
				_, _ = io.Copy(io.Discard, body)
				_ = body.Close()
			}

			// One channel of each class.
			one := gets("events", startEvents())
			two := gets("a long response", start("/stream/1000000?chunk=10&every=10ms"))
			wantOpen("two long responses", 2)

			// They hold back both kinds.
			page := start("/hello")
			waits("a request", page)
			more := startEvents() // after the request
			waits("more events", more)
			wantOpen("two long responses, two requests waiting", 2)

			// The end of one lets those go on that can.
			_ = two.Close()
			read(gets("the request that waited", page))
			three := gets("the events that waited", more)
			wantOpen("two long responses again", 2)

			// What lies idle after a request is used for a stream.
			_ = one.Close()
			read(gets("a request", start("/hello")))
			four := gets("events after a request", startEvents())
			wantOpen("after an idle channel", 2)

			// WebSockets are on top.
			var sockets []io.ReadCloser
			for range 3 {
				sockets = append(sockets, gets("a WebSocket", start("/ws", "Connection", "Upgrade", "Upgrade", "websocket",
					"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")))
			}
			wantOpen("with three WebSockets", 5)
			for _, body := range append(sockets, three, four) {
				_ = body.Close()
			}
		})
	}
}
