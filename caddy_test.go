package sshtunnel

// caddy_test.go tests the transport and the listener wrapper in a running
// Caddy, in front of an SSH bastion.

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"golang.org/x/net/websocket"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestCaddyProxies goes through the kinds of upstreams.
func TestCaddyProxies(t *testing.T) {
	ca := sshtest.NewCA()
	plain := sshtest.NewWeb(t, sshtest.WebOptions{})
	h2c := sshtest.NewWeb(t, sshtest.WebOptions{H2C: true})
	secure := sshtest.NewWeb(t, sshtest.WebOptions{TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("secure.internal", "other.internal")}}})
	sock := socketWeb(t)
	known := listenPROXY(t)
	proxied := sshtest.NewWeb(t, sshtest.WebOptions{Listener: known})
	securePROXY := sshtest.NewWeb(t, sshtest.WebOptions{Listener: listenPROXY(t), TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("securepp.internal")}}})

	b, tunnel := newTunnel(t, "prod", hosts{
		"web.internal:80": plain.Addr(), "h2c.internal:80": h2c.Addr(), "secure.internal:443": secure.Addr(),
		"/run/web.sock": sock, "pp.internal:80": proxied.Addr(), "securepp.internal:443": securePROXY.Addr(), "localhost:8080": plain.Addr(),
	})
	trust := "tls_trust_pool file " + sshtest.WriteFile(t, "ca.pem", ca.PEM())
	routes := map[string]string{
		"plain":    "reverse_proxy web.internal:80 {\ntransport ssh_tunnel prod\n}",
		"local":    "reverse_proxy :8080 {\ntransport ssh_tunnel prod\n}",
		"h2c":      "reverse_proxy h2c://h2c.internal {\ntransport ssh_tunnel prod\n}",
		"secure":   "reverse_proxy https://secure.internal {\ntransport ssh_tunnel prod {\n" + trust + "\n}\n}",
		"named":    "reverse_proxy https://secure.internal {\ntransport ssh_tunnel prod {\n" + trust + "\ntls_server_name {query.name}\nversions 1.1\n}\n}",
		"sock":     "reverse_proxy unix//run/web.sock {\ntransport ssh_tunnel prod\n}",
		"pp1":      "reverse_proxy pp.internal:80 {\ntransport ssh_tunnel prod {\nproxy_protocol v1\n}\n}",
		"pp2":      "reverse_proxy pp.internal:80 {\ntransport ssh_tunnel prod {\nproxy_protocol v2\n}\n}",
		"securepp": "reverse_proxy https://securepp.internal {\ntransport ssh_tunnel prod {\nproxy_protocol v2\n" + trust + "\n}\n}",
	}
	var server strings.Builder
	for name, route := range routes {
		fmt.Fprintf(&server, "handle_path /%s/* {\n%s\n}\n", name, route)
	}
	address := serve(t, tunnel(b.Addr()), "", server.String())

	for route, want := range map[string]sshtest.Headers{
		"plain":    {Proto: "HTTP/1.1", Host: address},
		"local":    {Proto: "HTTP/1.1", Host: address},
		"h2c":      {Proto: "HTTP/2.0", Host: address},
		"secure":   {Proto: "HTTP/2.0", Host: "secure.internal:443", ServerName: "secure.internal"},
		"named":    {Proto: "HTTP/1.1", Host: "secure.internal:443", ServerName: "other.internal"},
		"sock":     {Proto: "HTTP/1.1", Host: address},
		"pp1":      {Proto: "HTTP/1.1", Host: address, RemoteAddr: "127.0.0.1"},
		"pp2":      {Proto: "HTTP/1.1", Host: address, RemoteAddr: "127.0.0.1"},
		"securepp": {Proto: "HTTP/2.0", Host: "securepp.internal:443", ServerName: "securepp.internal", RemoteAddr: "127.0.0.1"},
	} {
		t.Run(route, func(t *testing.T) {
			res := fetch(t, "GET", "http://"+address+"/"+route+"/headers?name=other.internal", "")
			var got sshtest.Headers
			if err := json.Unmarshal([]byte(res.body), &got); err != nil {
				t.Fatalf("got %d %q", res.status, res.body)
			}
			if got.Proto != want.Proto || got.Host != want.Host || got.ServerName != want.ServerName || !strings.HasPrefix(got.RemoteAddr, want.RemoteAddr) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}

	t.Run("PROXY protocol client", func(t *testing.T) {
		if strings.Contains(strings.Join(known.seen(), " "), "LOCAL") {
			t.Error("a client's connection was called our own")
		}
	})

	t.Run("WebSocket", func(t *testing.T) {
		for _, route := range []string{"plain", "secure"} {
			ws, err := websocket.Dial("ws://"+address+"/"+route+"/ws", "", "http://"+address)
			if err != nil {
				t.Fatal(err)
			}
			defer ws.Close()
			var got string
			if err := websocket.Message.Send(ws, "hello"); err != nil {
				t.Fatal(err)
			}
			if err := websocket.Message.Receive(ws, &got); err != nil || got != "hello" {
				t.Errorf("%s: got %q back (%v)", route, got, err)
			}
		}
	})
	t.Run("upload", func(t *testing.T) {
		body := strings.Repeat("0123456789", 100_000)
		want := fmt.Sprintf("%x", sha256.Sum256([]byte(body)))
		if got := fetch(t, "POST", "http://"+address+"/plain/sum", body); !strings.Contains(got.body, want) {
			t.Errorf("got %d %q, want sum %s", got.status, got.body, want)
		}
	})
}

// socketWeb starts a web server on a socket and returns its path.
func socketWeb(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "web") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	sshtest.NewWeb(t, sshtest.WebOptions{Listener: ln})
	return path
}

// proxyListener requires the PROXY protocol and remembers its commands.
type proxyListener struct {
	*proxyproto.Listener
	commands chan string
}

func listenPROXY(t *testing.T) *proxyListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &proxyListener{commands: make(chan string, 100)}
	l.Listener = &proxyproto.Listener{
		Listener:          ln,
		ReadHeaderTimeout: time.Minute,
		ConnPolicy:        func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) { return proxyproto.REQUIRE, nil },
		ValidateHeader: func(h *proxyproto.Header) error {
			if h.Command.IsLocal() || h.TransportProtocol.IsUnspec() {
				l.commands <- "LOCAL"
			} else {
				l.commands <- "PROXY"
			}
			return nil
		},
	}
	return l
}

// seen returns the commands since it was last called.
func (l *proxyListener) seen() (all []string) {
	for len(l.commands) > 0 {
		all = append(all, <-l.commands)
	}
	return all
}

// TestCaddyPassiveHealth: 127.0.0.1:80 is another server behind each bastion.
func TestCaddyPassiveHealth(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	sick, sickTunnel := newTunnel(t, "sick", hosts{})
	well, wellTunnel := newTunnel(t, "well", hosts{"127.0.0.1:80": web.Addr()})
	proxy := "handle_path /%[1]s/* {\nreverse_proxy 127.0.0.1:80 {\nfail_duration 1m\ntransport ssh_tunnel %[1]s\n}\n}\n"
	address := serve(t, sickTunnel(sick.Addr())+wellTunnel(well.Addr()), "", fmt.Sprintf(proxy, "sick")+fmt.Sprintf(proxy, "well"))

	wantStatus(t, "http://"+address+"/sick/hello", 502) // the bastion says no
	wantStatus(t, "http://"+address+"/sick/hello", 503) // is remembered
	wantStatus(t, "http://"+address+"/well/hello", 200)
}

// TestCaddyActiveHealth: the checks begin before the tunnel is started, and
// must neither fail for that nor go anywhere else.
func TestCaddyActiveHealth(t *testing.T) {
	plain := sshtest.NewWeb(t, sshtest.WebOptions{})
	checker := sshtest.NewWeb(t, sshtest.WebOptions{})
	ln := listenPROXY(t)
	proxied := sshtest.NewWeb(t, sshtest.WebOptions{Listener: ln})
	ca := sshtest.NewCA()
	secure := sshtest.NewWeb(t, sshtest.WebOptions{TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("secure.internal")}}})
	b, tunnel := newTunnel(t, "prod", hosts{
		"web.internal:80": plain.Addr(), "web.internal:81": checker.Addr(), "pp.internal:80": proxied.Addr(),
		"/run/web.sock": socketWeb(t), "secure.internal:443": secure.Addr(),
	})
	routes := map[string]string{
		"plain":    "reverse_proxy web.internal:80 {\nhealth_uri /hello\ntransport ssh_tunnel prod\n}",
		"port":     "reverse_proxy web.internal:80 {\nhealth_uri /hello\nhealth_port 81\ntransport ssh_tunnel prod\n}",
		"upstream": "reverse_proxy web.internal:80 {\nhealth_uri /hello\nhealth_upstream web.internal:81\ntransport ssh_tunnel prod\n}",
		"sock":     "reverse_proxy unix//run/web.sock {\nhealth_uri /hello\ntransport ssh_tunnel prod\n}",
		"secure":   "reverse_proxy https://secure.internal {\nhealth_uri /hello\ntransport ssh_tunnel prod {\ntls_insecure_skip_verify\n}\n}",
		"pp1":      "reverse_proxy pp.internal:80 {\nhealth_uri /hello\ntransport ssh_tunnel prod {\nproxy_protocol v1\n}\n}",
		"pp2":      "reverse_proxy pp.internal:80 {\nhealth_uri /hello\ntransport ssh_tunnel prod {\nproxy_protocol v2\n}\n}",
		"sick":     "reverse_proxy web.internal:80 {\nhealth_uri /status/500\ntransport ssh_tunnel prod\n}",
	}
	var server strings.Builder
	for name, route := range routes {
		fmt.Fprintf(&server, "handle_path /%s/* {\n%s\n}\n", name, route)
	}
	address := serve(t, tunnel(b.Addr()), "", server.String())

	sshtest.Eventually(t, 5*time.Second, "the checks have run", func() bool {
		return plain.Requests() >= 2 && checker.Requests() >= 2 && proxied.Requests() >= 2 && secure.Requests() >= 1
	})
	sshtest.Eventually(t, 2*time.Second, "the sick one is down", func() bool {
		return fetch(t, "GET", "http://"+address+"/sick/hello", "").status == 503
	})
	if got := ln.seen(); len(got) != 2 || got[0] != "LOCAL" || got[1] != "LOCAL" {
		t.Errorf("checks introduced themselves as %v", got)
	}
	for name := range routes {
		if name != "sick" {
			wantStatus(t, "http://"+address+"/"+name+"/hello", 200)
		}
	}
}

// TestCaddyErrors: what a client gets when it cannot be helped.
func TestCaddyErrors(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", hosts{})
	link := sshtest.NewLink(t, b.Addr())
	address := serve(t, tunnel(link.Addr()), "", `
		reverse_proxy web.internal:80 {
			transport ssh_tunnel prod {
				dial_timeout 500ms
			}
		}
		handle_errors {
			@later vars_regexp {http.reverse_proxy.ssh_tunnel.retry_after} .
			header @later Retry-After {http.reverse_proxy.ssh_tunnel.retry_after}
			respond "{err.message}"
		}
	`)

	got := fetch(t, "GET", "http://"+address+"/", "")
	if got.status != 502 || !strings.Contains(got.body, `tunnel "prod": opening channel to "web.internal:80": connection refused`) {
		t.Errorf("refused: got %d %q", got.status, got.body)
	}
	if later := got.header.Get("Retry-After"); later != "" {
		t.Errorf("refused: Retry-After is %q", later)
	}

	link.Refuse()
	link.Reset()
	sshtest.Eventually(t, 5*time.Second, "the tunnel is down", func() bool {
		got = fetch(t, "POST", "http://"+address+"/", "x")
		return got.status == 503
	})
	if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("down: Retry-After is %q", got.header.Get("Retry-After"))
	}
	if !strings.Contains(got.body, `tunnel "prod" is down: `) {
		t.Errorf("down: got %q", got.body)
	}
}

// TestCaddyRetries: a POST waits for the bastion, since none of it was sent.
func TestCaddyRetries(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	b, tunnel := newTunnel(t, "prod", hosts{"web.internal:80": web.Addr()})
	link := sshtest.NewLink(t, b.Addr())
	link.Refuse()
	address := serve(t, tunnel(link.Addr()), "", "reverse_proxy web.internal:80 {\nlb_try_duration 20s\ntransport ssh_tunnel prod\n}")
	time.AfterFunc(500*time.Millisecond, link.Accept)
	if got := fetch(t, "POST", "http://"+address+"/sum", "hello"); got.status != 200 || !strings.Contains(got.body, `"bytes":5`) {
		t.Errorf("got %d %q", got.status, got.body)
	}
}

// TestCaddyLinkLost: a response without a length that the link cuts short.
func TestCaddyLinkLost(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	b, tunnel := newTunnel(t, "prod", hosts{"web.internal:80": web.Addr()})
	address := serve(t, tunnel(b.Addr()), "", "reverse_proxy web.internal:80 {\ntransport ssh_tunnel prod\n}")
	for _, path := range []string{"/size/1000000", "/stream/1000000", "/stream/1000000?close"} {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		res, err := http.Get("http://" + address + path + sep + "chunk=1000&every=10ms")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 2000)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		b.Kick()
		if n, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Errorf("%s: ended without an error after %d bytes", path, n)
		}
		res.Body.Close()
	}
}

// TestCaddyListener has the wrapper before and, with no word said, after TLS.
func TestCaddyListener(t *testing.T) {
	ln := caddytest.ListenAndCount(t)
	b, tunnel := newTunnel(t, "prod", hosts{"echo.internal:7": ln.Addr().String()})
	address := serve(t, tunnel(b.Addr()), "servers {\nlistener_wrappers {\nssh_tunnel prod echo.internal:7\n}\n}", "respond nothing")
	for range 2 {
		echo(t, ln)
		conn := caddytest.DialTCP(t, address)
		exchange(t, conn)
		opens := b.Opens()
		if got := opens[len(opens)-1]; got.Address != "echo.internal:7" || got.Originator != conn.LocalAddr().String() {
			t.Errorf("the bastion was asked for %+v", got)
		}
	}
}
