package transport

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func TestClassOf(t *testing.T) {
	header := func(pairs ...string) http.Header {
		h := make(http.Header)
		for pair := range slices.Chunk(pairs, 2) {
			h.Add(pair[0], pair[1])
		}
		return h
	}
	for _, tt := range []struct {
		method string
		header http.Header
		want   tunnel.Class
	}{
		{"GET", header(), tunnel.Request},
		{"GET", header("Accept", "text/html, */*;q=0.8"), tunnel.Request},

		{"GET", header("Connection", "Upgrade", "Upgrade", "websocket"), tunnel.Stream},
		{"GET", header("Connection", "keep-alive, upgrade", "Upgrade", "websocket"), tunnel.Stream},
		{"POST", header("Connection", "Upgrade", "Upgrade", "tcp"), tunnel.Stream},
		{"GET", header("Upgrade", "websocket"), tunnel.Request},
		{"GET", header("Connection", "Upgrade"), tunnel.Request},
		{"GET", header("Connection", "close", "Upgrade", "websocket"), tunnel.Request},
		{"GET", header("Connection", "Upgrade", "Upgrade", "h2c"), tunnel.Request},

		{"GET", header("Accept", "text/event-stream"), tunnel.Stream},
		{"GET", header("Accept", " Text/Event-Stream ; charset=utf-8"), tunnel.Stream},
		{"POST", header("Accept", "text/event-stream"), tunnel.Request},
		{"GET", header("Accept", "application/json, text/event-stream"), tunnel.Request},
		{"GET", header("Accept", "text/event-stream, */*"), tunnel.Request},
		{"GET", header("Accept", "text/event-stream;q=0.9, text/html"), tunnel.Request},
		{"GET", header("Accept", "text/event-stream", "Accept", "text/html"), tunnel.Request},
		{"GET", header("Accept", "text/event-streams"), tunnel.Request},
		{"GET", header("Accept", ""), tunnel.Request},
	} {
		req := request(t, tt.method, "http://web/", nil)
		req.Header = tt.header
		if got := classOf(req); got != tt.want {
			t.Errorf("%s %v: class %v, want %v", tt.method, tt.header, got, tt.want)
		}
	}
}

// classTunnel knows of which class its channels are, by their addresses.
type classTunnel struct {
	caddytest.Tunnel
	classes sync.Map // a net.Addr as a string to a tunnel.Class
}

// Dial implements dialer.
func (c *classTunnel) Dial(ctx context.Context, target tunnel.Target) (dialer.Channel, error) {
	conn, err := c.Tunnel.Dial(ctx, target)
	if err == nil {
		c.classes.Store(conn.LocalAddr().String(), target.Class)
	}
	return conn, err
}

// serveAddress answers with the client's address, or upgrades and then sends
// back what it gets.
func serveAddress(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Address", r.RemoteAddr)
	to := r.Header.Get("Upgrade")
	if to == "" {
		_, _ = io.WriteString(w, "hello\n")
		return
	}
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", to)
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.Copy(conn, buffered)
}

// kind is a kind of request.
type kind struct {
	name, header, value string
	class               tunnel.Class
}

var (
	aPage      = kind{"a request", "Accept", "text/html", tunnel.Request}
	events     = kind{"events", "Accept", "text/event-stream", tunnel.Stream}
	aWebSocket = kind{"a WebSocket", "Upgrade", "websocket", tunnel.Stream}
	anUpgrade  = kind{"an upgrade", "Upgrade", "other", tunnel.Stream}
)

// ask makes a request and reads its answer to the end, if it has one.
func (k kind) ask(t *testing.T, tr *Transport, address string) (http.Header, error) {
	req := request(t, "GET", address, map[string]any{contract.TLSHTTP1OnlyVar: k == aWebSocket}) // as the reverse proxy has it
	req.Header.Set(k.header, k.value)
	if k.header == "Upgrade" {
		req.Header.Set("Connection", "Upgrade")
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusSwitchingProtocols {
		_, err = io.Copy(io.Discard, res.Body)
		return res.Header, err
	}
	if _, err := io.WriteString(res.Body.(io.Writer), "hello"); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(res.Body, make([]byte, len("hello")))
	return res.Header, err
}

// TestClassesApart: whatever lies idle and whatever is being dialed, no stream
// gets a channel that was dialed for a request, nor the other way round.
func TestClassesApart(t *testing.T) {
	sshtest.Takes(t, 4*time.Second)
	for proto, kinds := range map[string][]kind{
		"1.1": {aPage, events, aWebSocket, anUpgrade},
		"2":   {aPage, events, aWebSocket}, // which has no other upgrades
	} {
		t.Run("HTTP/"+proto, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(serveAddress))
			server.EnableHTTP2 = proto == "2"
			server.StartTLS()
			defer server.Close()
			tun := new(classTunnel)
			tr := newTransport(t, tun, `{"tls": {"insecure_skip_verify": true}, "versions": ["1.1", "`+proto+`"]}`)

			ask := func(k kind) error {
				header, err := k.ask(t, tr, server.URL)
				if err != nil {
					return fmt.Errorf("%s: %w", k.name, err)
				}
				if got, _ := tun.classes.Load(header.Get("X-Address")); got != k.class {
					return fmt.Errorf("%s got a channel of class %v, want %v", k.name, got, k.class)
				}
				return nil
			}
			for _, first := range kinds {
				for _, second := range kinds {
					for _, k := range []kind{first, second} {
						if err := ask(k); err != nil {
							t.Errorf("%s, then %s: %v", first.name, second.name, err)
						}
					}
				}
			}
			var wg sync.WaitGroup
			for client := range 8 {
				wg.Go(func() {
					for i := range 30 {
						if err := ask(kinds[(client+i+client*i)%len(kinds)]); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestClassesArePooled: each class uses its channels again.
func TestClassesArePooled(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(serveAddress))
	defer server.Close()
	tun := new(caddytest.Tunnel)
	tr := newTransport(t, tun, "")
	for range 5 {
		for _, k := range []kind{aPage, events} {
			if _, err := k.ask(t, tr, server.URL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(tun.Dialed()); n != 2 {
		t.Errorf("%d dials, want one a class", n)
	}
}

// TestBufferSizes: requests have large buffers, streams small ones, and both
// what is configured.
func TestBufferSizes(t *testing.T) {
	for _, tt := range []struct {
		config            string
		requests, streams [2]int // of reads and writes
	}{
		{`{}`, [2]int{32 << 10, 32 << 10}, [2]int{}},
		{`{"read_buffer_size": 8192}`, [2]int{8192, 32 << 10}, [2]int{8192, 0}},
		{`{"write_buffer_size": 65536}`, [2]int{32 << 10, 65536}, [2]int{0, 65536}},
		{`{"max_conns_per_host": 2}`, [2]int{32 << 10, 32 << 10}, [2]int{32 << 10, 32 << 10}},
	} {
		tr := newTransport(t, new(caddytest.Tunnel), tt.config)
		sizes := func(class tunnel.Class) [2]int {
			transport := tr.pools.current().of(class)
			return [2]int{transport.ReadBufferSize, transport.WriteBufferSize}
		}
		if got := sizes(tunnel.Request); got != tt.requests {
			t.Errorf("%s: requests have %v, want %v", tt.config, got, tt.requests)
		}
		if got := sizes(tunnel.Stream); got != tt.streams {
			t.Errorf("%s: streams have %v, want %v", tt.config, got, tt.streams)
		}
	}
}

// TestIdleChannels: more stay in the pools than sockets do, unless configured.
func TestIdleChannels(t *testing.T) {
	for config, want := range map[string]int{
		`{}`: idleChannels,
		`{"keep_alive": {"max_idle_conns_per_host": 7}}`:              7,
		`{"keep_alive": {"max_idle_conns": 9, "idle_timeout": "1s"}}`: idleChannels,
	} {
		pool := newTransport(t, new(caddytest.Tunnel), config).pools.current()
		for _, class := range []tunnel.Class{tunnel.Request, tunnel.Stream} {
			if n := pool.of(class).MaxIdleConnsPerHost; n != want {
				t.Errorf("%s: class %d keeps %d, want %d", config, class, n, want)
			}
		}
	}
}
