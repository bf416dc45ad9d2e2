package transport

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// begin starts a request and returns its response, which goes on until closed.
func begin(t *testing.T, tr *Transport, address string) io.ReadCloser {
	t.Helper()
	res, err := tr.RoundTrip(request(t, "GET", "//"+address+"/stream/1000000?chunk=10&every=10ms", nil))
	if err != nil {
		t.Fatal(err)
	}
	return res.Body
}

// finish reads a little of a response, and closes it.
func finish(t *testing.T, body io.ReadCloser) {
	t.Helper()
	if _, err := io.ReadFull(body, make([]byte, 50)); err != nil {
		t.Errorf("a request in flight was cut: %v", err)
	}
	_ = body.Close()
}

// TestGenerations replaces the connection of a tunnel while requests are under
// way, with HTTP/1.1 and with HTTP/2, whose pool is hidden elsewhere.
func TestGenerations(t *testing.T) {
	for _, proto := range []string{"1.1", "2"} {
		t.Run("HTTP/"+proto, func(t *testing.T) {
			web := sshtest.NewWeb(t, sshtest.WebOptions{TLS: &tls.Config{Certificates: []tls.Certificate{sshtest.NewCA().Issue("127.0.0.1")}}})
			tun := new(caddytest.Tunnel)
			tr := newTransport(t, tun, `{"tls": {"insecure_skip_verify": true}, "versions": ["`+proto+`"]}`)
			hello := func() { get(t, tr, request(t, "GET", "//"+web.Addr()+"/hello", nil)) }

			hello()
			hello()
			if n := len(tun.Dialed()); n != 1 {
				t.Fatalf("%d dials, want 1", n)
			}
			old := begin(t, tr, web.Addr())

			tun.GenerationNumber.Add(1)
			hello()
			hello()
			if n := len(tun.Dialed()); n != 2 {
				t.Errorf("%d dials, want 2: one a generation", n)
			}
			if n := tun.OpenChannels.Load(); n != 2 {
				t.Errorf("%d channels are open, want the busy old one and the new", n)
			}

			finish(t, old)
			sshtest.Eventually(t, 5*time.Second, "the old channel is closed once idle", func() bool { return tun.OpenChannels.Load() == 1 })
			hello()
			if n := len(tun.Dialed()); n != 2 {
				t.Errorf("%d dials, want 2", n)
			}
		})
	}
}

// TestGenerationsFollow: what is idle is closed without another request, and
// what sees to it ends with the transport.
func TestGenerationsFollow(t *testing.T) {
	running := goleak.IgnoreCurrent()
	web, err := sshtest.ListenWeb(sshtest.WebOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tun := new(caddytest.Tunnel)
	tr := newTransport(t, tun, "")
	for range 3 {
		get(t, tr, request(t, "GET", "//"+web.Addr()+"/hello", nil))
		if n := tun.OpenChannels.Load(); n != 1 {
			t.Fatalf("%d channels are open, want 1", n)
		}
		tun.Move()
		sshtest.Eventually(t, 5*time.Second, "the idle channel is closed", func() bool { return tun.OpenChannels.Load() == 0 })
	}
	if err := tr.Cleanup(); err != nil {
		t.Error(err)
	}
	_ = web.Close()
	goleak.VerifyNone(t, running)
}

// TestGenerationsOfBothClasses replaces the connection of a tunnel when each
// class has a channel idle.
func TestGenerationsOfBothClasses(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	tun := new(caddytest.Tunnel)
	tr := newTransport(t, tun, "")
	page := func() *http.Request { return request(t, "GET", "//"+web.Addr()+"/hello", nil) }
	events := func() *http.Request {
		req := request(t, "GET", "//"+web.Addr()+"/sse?n=2&every=1ms", nil)
		req.Header.Set("Accept", "text/event-stream")
		return req
	}
	get(t, tr, page())
	get(t, tr, events())
	old := tr.pools.current()

	tun.GenerationNumber.Add(1)
	get(t, tr, events()) // either class has both moved
	sshtest.Eventually(t, 2*time.Second, "both old channels are closed", func() bool { return tun.OpenChannels.Load() == 1 })
	get(t, tr, page())
	want := []tunnel.Class{tunnel.Request, tunnel.Stream, tunnel.Stream, tunnel.Request}
	var got []tunnel.Class
	for _, target := range tun.Dialed() {
		got = append(got, target.Class)
	}
	if !slices.Equal(got, want) {
		t.Errorf("dialed classes %v, want %v", got, want)
	}

	// Requests that had chosen the old generation, and come late, leave nothing
	// behind.
	for _, late := range []struct {
		class tunnel.Class
		req   *http.Request
	}{{tunnel.Request, page()}, {tunnel.Stream, events()}} {
		late.req.URL.Scheme = "http"
		e := new(dialRequest)
		req := late.req.WithContext(context.WithValue(late.req.Context(), dialRequestKey{}, e))
		if err := tr.prepare(e, req); err != nil || e.class != late.class {
			t.Fatalf("got class %v, error %v", e.class, err)
		}
		res, err := old.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	sshtest.Eventually(t, 5*time.Second, "what came late is closed", func() bool { return tun.OpenChannels.Load() == 2 })
}

// TestRequestsAfterCleanup: a configuration's last requests go on, but leave no
// idle channel to a tunnel that may be about to end, even if their responses go
// on for long.
func TestRequestsAfterCleanup(t *testing.T) {
	for _, proto := range []string{"1.1", "2"} {
		for name, before := range map[string]bool{"begun before": true, "begun after": false} {
			t.Run("HTTP/"+proto+" "+name, func(t *testing.T) {
				web := sshtest.NewWeb(t, sshtest.WebOptions{TLS: &tls.Config{Certificates: []tls.Certificate{sshtest.NewCA().Issue("127.0.0.1")}}})
				tun := new(caddytest.Tunnel)
				tr := newTransport(t, tun, `{"tls": {"insecure_skip_verify": true}, "versions": ["`+proto+`"]}`)
				if before {
					get(t, tr, request(t, "GET", "//"+web.Addr()+"/hello", nil))
					old := begin(t, tr, web.Addr())
					_ = tr.Cleanup()
					finish(t, old)
				} else {
					_ = tr.Cleanup()
					finish(t, begin(t, tr, web.Addr()))
				}
				tun.GenerationNumber.Add(1)
				get(t, tr, request(t, "GET", "//"+web.Addr()+"/hello", nil))
				sshtest.Eventually(t, 2*time.Second, "no channel is left", func() bool { return tun.OpenChannels.Load() == 0 })
			})
		}
	}
}

func TestCleanupUnprovisioned(t *testing.T) {
	tr := Transport{}.CaddyModule().New().(*Transport)
	if err := tr.Cleanup(); err != nil {
		t.Error(err)
	}
}
