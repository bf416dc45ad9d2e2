//go:build linux

package e2e

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// features_test.go tries what a reverse proxy can do, through the tunnel.

// route is a part of a site that goes through the tunnel prod.
func route(name, upstream, options string) string {
	return fmt.Sprintf("handle_path /%s/* {\nreverse_proxy %s {\ntransport ssh_tunnel prod {\n%s\n}\n}\n}\n", name, upstream, options)
}

// TestFeatures has all kinds of upstreams behind one bastion.
func TestFeatures(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	ca := sshtest.NewCA()
	cert := ca.Issue("web.internal", "other.internal")
	secure := func() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{cert}} }
	inside := func(address string) net.Listener { return b.netns.Listen("tcp", address) }
	sshtest.NewWeb(t, sshtest.WebOptions{Listener: inside("127.0.0.1:443"), TLS: secure()})
	sshtest.NewWeb(t, sshtest.WebOptions{Listener: inside("127.0.0.1:81"), H2C: true})
	sshtest.NewWeb(t, sshtest.WebOptions{Listener: withPROXY(inside("127.0.0.1:82"))})
	sshtest.NewWeb(t, sshtest.WebOptions{Listener: withPROXY(inside("127.0.0.1:83")), TLS: secure()})
	b.serveTCP("127.0.0.1:84", func(*net.TCPConn) { <-t.Context().Done() }) // reads nothing
	socket := serveSocket(t)

	trust := "tls_trust_pool file " + sshtest.WriteFile(t, "ca.pem", ca.PEM()) + "\n"
	const secured = "https://web.internal"
	site := route("h1", "web.internal:80", "") +
		route("h2", secured, trust) +
		route("h2c", "h2c://web.internal:81", "") +
		route("tls1", secured, trust+"versions 1.1") +
		route("named", "https://127.0.0.1", trust+"tls_server_name other.internal") +
		route("query", "https://127.0.0.1", trust+"tls_server_name {query.name}") +
		route("untrusted", secured, "") +
		route("unix", "unix/"+socket, "") +
		route("pp1", "web.internal:82", "proxy_protocol v1") +
		route("pp2", "web.internal:82", "proxy_protocol v2") +
		route("pp2tls", "https://web.internal:83", trust+"proxy_protocol v2") +
		route("read", "web.internal:80", "read_timeout 3s") +
		route("write", "web.internal:84", "write_timeout 300ms") +
		route("header", "web.internal:80", "response_header_timeout 300ms")
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod"), "servers {\nprotocols h1 h2c\ntrusted_proxies static 127.0.0.1\n}\n", site+"handle {\n"+proxied+"\n}\n")
	})
	c.wantServed()

	t.Run("protocols", func(t *testing.T) {
		for route, want := range map[string]string{
			"h1": "HTTP/1.1 ", "h2": "HTTP/2.0 web.internal", "h2c": "HTTP/2.0 ", "tls1": "HTTP/1.1 web.internal",
			"named": "HTTP/2.0 other.internal", "unix": "HTTP/1.1 ", "pp1": "HTTP/1.1 ", "pp2tls": "HTTP/2.0 web.internal",
		} {
			seen, a := c.headers("/" + route + "/headers")
			if got := seen.Proto + " " + seen.ServerName; got != want {
				t.Errorf("%s: got %q, want %q: %v", route, got, want, a)
			}
		}
		if seen, a := c.headers("/query/headers?name=other.internal"); seen.ServerName != "other.internal" {
			t.Errorf("name from a placeholder: %v", a)
		}
		if a := c.get("/untrusted/hello"); a.status != http.StatusBadGateway || !c.logged("http.log.error", "TLS handshake with upstream") {
			t.Errorf("untrusted: %v", a)
		}
	})
	t.Run("PROXY protocol", func(t *testing.T) {
		for _, route := range []string{"pp1", "pp2", "pp2tls"} {
			// As from a visitor who comes through another proxy.
			seen, a := c.headers("/"+route+"/headers", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.7") })
			if host, _, _ := net.SplitHostPort(seen.RemoteAddr); host != "203.0.113.7" {
				t.Errorf("%s: the server sees %q: %v", route, seen.RemoteAddr, a)
			}
		}
	})
	t.Run("bodies", func(t *testing.T) {
		for _, route := range []string{"h1", "h2", "h2c", "unix", "tls1"} {
			newStream(t, c.open("/"+route+"/size/1000000").Body).read(1_000_000)
			newStream(t, c.open("/"+route+"/stream/1000000").Body).read(1_000_000)
			a := c.do(http.MethodPost, "/"+route+"/sum", io.LimitReader(sshtest.Body(), 1_000_000))
			if !strings.Contains(a.body, sum(1_000_000)) {
				t.Errorf("%s: upload: %v", route, a)
			}
		}
	})
	t.Run("trailers", func(t *testing.T) {
		// As gRPC has them: HTTP/2 all the way.
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		h2 := c.with(&http.Transport{Protocols: protocols})
		for _, route := range []string{"h1", "h2", "h2c"} {
			a := h2.do(http.MethodPost, "/"+route+"/trailers", strings.NewReader("hello"))
			if a.err != nil || a.body != "hello" || len(a.trailer.Get("X-Sum")) != 64 {
				t.Errorf("%s: trailers %v, %v", route, a.trailer, a)
			}
		}
		for _, route := range []string{"h2", "h2c"} {
			h2.converse("/" + route + "/echo")
		}
	})
	t.Run("Expect", func(t *testing.T) {
		for _, route := range []string{"h1", "h2", "tls1"} {
			// A connection each: net/http may send the body of a rejected request
			// after all, as what its server takes for the next request.
			expecting := func(r *http.Request) {
				r.Header.Set("Expect", "100-continue")
				r.Close = true
			}
			a := c.do(http.MethodPost, "/"+route+"/sum", io.LimitReader(sshtest.Body(), 300_000), expecting)
			if a.status != http.StatusOK || !strings.Contains(a.body, sum(300_000)) {
				t.Errorf("%s: %v", route, a)
			}
			// Any server may reset a client that goes on sending what it has
			// rejected, before the client has read that. With h2, Caddy may read the
			// body for the upstream, with a race that the detector tells of, and the
			// client then wait until its time is over.
			sshtest.Eventually(t, 3*patience, route+": a rejection", func() bool {
				a := c.do(http.MethodPost, "/"+route+"/reject", io.LimitReader(sshtest.Body(), 300_000), expecting)
				return a.status == http.StatusForbidden
			})
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		for _, prefix := range []string{"", "/unix", "/tls1", "/h2"} {
			c.websocketTo(prefix + "/ws").exchange("through " + prefix)
		}
	})
	t.Run("SSE", func(t *testing.T) {
		for _, route := range []string{"h1", "h2"} {
			lines := bufio.NewScanner(c.open("/" + route + "/sse?every=1h").Body)
			if !lines.Scan() || lines.Text() != "id: 1" { // the second event never comes
				t.Errorf("%s: the first event is %q, %v", route, lines.Text(), lines.Err())
			}
		}
	})
	t.Run("timeouts", func(t *testing.T) {
		for _, request := range []func() answer{
			func() answer { return c.get("/read/hang") },
			func() answer { return c.get("/header/hang") },
			func() answer { return c.do(http.MethodPost, "/write/", io.LimitReader(sshtest.Body(), 1<<30)) },
		} {
			if a := request(); a.err == nil && a.status < 500 || isTimeoutError(a.err) { // the client's
				t.Errorf("no timeout: %v", a)
			}
		}
		if a := c.get("/read/slow"); a.err != nil || len(a.body) != 50 { // 5s, but never 3s without a byte
			t.Errorf("read_timeout cuts what is not idle: %v", a)
		}
	})
	t.Run("client leaves", func(t *testing.T) {
		before := b.web.Active()
		response := c.open("/h1/sse")
		sshtest.Eventually(t, patience, "the web server serves it", func() bool { return b.web.Active() > before })
		_ = response.Body.Close()
		sshtest.Eventually(t, patience, "the web server knows that the client has left", func() bool { return b.web.Active() <= before })
	})
	if logins := b.Logins(); logins > 2+c.explained() { // one for requests, one for streams
		t.Errorf("sshd saw %d logins", logins)
	}
}

// headers returns what the web server knows about a request.
func (c *caddy) headers(path string, options ...func(*http.Request)) (seen sshtest.Headers, a answer) {
	a = c.do(http.MethodGet, path, nil, options...)
	_ = json.Unmarshal([]byte(a.body), &seen)
	return seen, a
}

// sum is a part of what /sum answers to n bytes.
func sum(n int64) string {
	hash := sha256.New()
	_, _ = io.CopyN(hash, sshtest.Body(), n)
	return hex.EncodeToString(hash.Sum(nil))
}

// converse sends a part of a body only when the one before it has come back, as
// gRPC's bidirectional streams do.
func (c *caddy) converse(path string) {
	c.t.Helper()
	reader, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	request, err := http.NewRequest(http.MethodPost, c.url(path), reader)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	for _, message := range []string{"one", "two", "three"} {
		_, _ = io.WriteString(writer, message)
		got := make([]byte, len(message))
		if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != message {
			c.t.Errorf("%s: got %q for %q, %v", path, got, message, err)
			return
		}
	}
	_ = writer.Close()
	if rest, err := io.ReadAll(response.Body); err != nil || len(rest) != 0 {
		c.t.Errorf("%s: after the end: %q %v", path, rest, err)
	}
}

// withPROXY has a listener demand the PROXY protocol.
func withPROXY(l net.Listener) net.Listener {
	return &proxyproto.Listener{
		Listener:          l,
		ReadHeaderTimeout: patience,
		ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			return proxyproto.REQUIRE, nil
		},
	}
}

// serveSocket runs a web server on a socket that all users may connect to.
func serveSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e") // t.TempDir's are ours alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "web.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, socket} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	sshtest.NewWeb(t, sshtest.WebOptions{Listener: l})
	return socket
}
