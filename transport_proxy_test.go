package sshtunnel

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// recorder is an HTTP proxy that keeps what it is asked for, as it is written, and
// answers by itself.
type recorder struct {
	*countingListener
	mu    sync.Mutex
	asked []string // request line and Host
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{countingListener: listenAndCount(t)}
	// Returns when the test ends. Who serves a connection returns when Caddy closes
	// it.
	go func() {
		for {
			select {
			case conn := <-r.conns:
				go r.serve(conn)
			case <-t.Context().Done():
				return
			}
		}
	}()
	return r
}

func (r *recorder) serve(conn net.Conn) {
	defer conn.Close()
	from := bufio.NewReader(conn)
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			return
		}
		for host := ""; ; {
			field, err := from.ReadString('\n')
			if err != nil {
				return
			}
			if name, value, _ := strings.Cut(field, ":"); strings.EqualFold(name, "Host") {
				host += "|" + strings.TrimSpace(value)
			}
			if field == "\r\n" {
				r.mu.Lock()
				r.asked = append(r.asked, strings.TrimSpace(line)+host)
				r.mu.Unlock()
				break
			}
		}
		_, _ = fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	}
}

// took returns what it was asked for, and forgets it.
func (r *recorder) took() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

// serveAny is serve with a site for any Host.
func serveAny(t *testing.T, tunnels, site string) string {
	t.Helper()
	address := freeAddress(t)
	if err := reload(strings.TrimPrefix(address, "127.0.0.1"), tunnels, "", site); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	return address
}

// TestProxyIsAskedForTheUpstream: whatever a client sends, an HTTP proxy is asked
// for the upstream, and for that in the spelling that was compared.
func TestProxyIsAskedForTheUpstream(t *testing.T) {
	proxy := newRecorder(t)
	b, tun := newTunnel(t, "prod", hosts{"proxy.test:3128": proxy.Addr().String()})
	const via = "transport ssh_tunnel prod {\nnetwork_proxy url http://proxy.test:3128\n%s\n}\n"
	for name, tt := range map[string]struct{ permit, options, upstream string }{
		"restricted":           {"proxy.test:3128 10.0.0.0/8:80 *.test:8080", "", "{header.To}"},
		"anywhere":             {"", "", "10.0.0.1:80"},
		"HTTP/2 is on offer":   {"proxy.test:3128 10.0.0.0/8:80 *.test:8080", "versions 1.1 2", "{header.To}"},
		"one connection":       {"proxy.test:3128 10.0.0.0/8:80 *.test:8080", "max_conns_per_host 1", "{header.To}"},
		"keepalive off":        {"proxy.test:3128 10.0.0.0/8:80 *.test:8080", "keepalive off", "{header.To}"},
		"any host at one port": {"proxy.test:3128 *:8080 *:80", "", "{header.To}"},
	} {
		t.Run(name, func(t *testing.T) {
			tunnels := tun(b.Addr())
			if tt.permit != "" {
				tunnels = restricted(tunnels, tt.permit)
			}
			address := serveAny(t, tunnels, "uri path_regexp ^/bare/ \"\"\nreverse_proxy "+tt.upstream+" {\n"+fmt.Sprintf(via, tt.options)+"}\n")
			type request struct{ line, host, to, want string }
			requests := []request{
				{"GET /x?y HTTP/1.1", "secret.test:22", "10.0.0.1:80", "GET http://10.0.0.1:80/x?y HTTP/1.1|10.0.0.1:80"},
				{"POST /x HTTP/1.1", "secret.test:22", "10.0.0.1:80", "POST http://10.0.0.1:80/x HTTP/1.1|10.0.0.1:80"},
				{"GET http://secret.test:22/x HTTP/1.1", "secret.test:22", "10.0.0.1:80", "GET http://10.0.0.1:80/x HTTP/1.1|10.0.0.1:80"},
				// Neither of them is a path.
				{"GET a:http://secret.test:22/x HTTP/1.1", "a", "10.0.0.1:80", "GET http://10.0.0.1:80/ HTTP/1.1|10.0.0.1:80"},
				{"GET http:secret.test:22 HTTP/1.1", "a", "10.0.0.1:80", "GET http://10.0.0.1:80/ HTTP/1.1|10.0.0.1:80"},
				{"GET /bare/@secret.test:22/x HTTP/1.1", "a", "10.0.0.1:80", "GET http://10.0.0.1:80/@secret.test:22/x HTTP/1.1|10.0.0.1:80"},
				{"GET //secret.test:22/x HTTP/1.1", "a", "10.0.0.1:80", "GET http://10.0.0.1:80//secret.test:22/x HTTP/1.1|10.0.0.1:80"},
				{"CONNECT secret.test:22 HTTP/1.1", "secret.test:22", "10.0.0.1:80", ""},
			}
			if tt.permit != "" {
				requests = append(requests,
					request{"GET / HTTP/1.1", "a", "012.0.0.1:80", "GET http://10.0.0.1:80/ HTTP/1.1|10.0.0.1:80"},
					request{"GET / HTTP/1.1", "a", "[::ffff:10.0.0.1]:80", "GET http://10.0.0.1:80/ HTTP/1.1|10.0.0.1:80"},
					request{"GET / HTTP/1.1", "a", "WEB.test.:8080", "GET http://web.test:8080/ HTTP/1.1|web.test:8080"},
					request{"GET / HTTP/1.1", "a", "secret.test:22", ""},
					request{"GET / HTTP/1.1", "a", "secret.test/web.test:8080", ""},
					request{"GET / HTTP/1.1", "a", "[secret.test:22/]:8080", ""},
					request{"GET / HTTP/1.1", "a", "secret.test#.test:8080", ""},
					request{"GET / HTTP/1.1", "a", "[fe80::1%eth0]:80", ""},
				)
			}
			for _, r := range requests {
				if name == "any host at one port" && strings.HasPrefix(r.to, "WEB") {
					r.want = strings.ReplaceAll(r.want, "web.test", "WEB.test.")
				}
				proxy.took()
				status := rawStatus(t, address, r.line, "Host: "+r.host, "To: "+r.to, "Content-Length: 0")
				want, wantStatus := []string{r.want}, 204
				if r.want == "" {
					want, wantStatus = nil, 403
				}
				if got := proxy.took(); status != wantStatus || !slices.Equal(got, want) {
					t.Errorf("%s of %s to %s: status %d, and the proxy is asked for %q, want %q", r.line, r.host, r.to, status, got, want)
				}
			}
		})
	}
}

// TestProxyConnects: a proxy that is asked to connect is asked for the spelling
// that was compared as well.
func TestProxyConnects(t *testing.T) {
	for _, tt := range []struct{ config, to, want string }{
		{`"tls": {"insecure_skip_verify": true}`, "012.0.0.1:443", "CONNECT 10.0.0.1:443 HTTP/1.1|10.0.0.1:443"},
		{`"tls": {"insecure_skip_verify": true}`, "WEB.test.:443", "CONNECT web.test:443 HTTP/1.1|web.test:443"},
		{`"tls": {"insecure_skip_verify": true}, "versions": ["2"]`, "[FD00:0::5]:443", "CONNECT [fd00::5]:443 HTTP/1.1|[fd00::5]:443"},
		{`"versions": ["1.1"]`, "[FD00:0::5]:443", "GET http://[fd00::5]:443/ HTTP/1.1|[fd00::5]:443"},
	} {
		proxy := newRecorder(t)
		tun := &fakeTunnel{Permission: permitting(t, "proxy.test:3128", "10.0.0.0/8:443", "web.test:443", "[fd00::/8]:443"), routes: map[string]string{"proxy.test:3128": proxy.Addr().String()}}
		tr := newTransport(t, tun, `{"network_proxy": {"from": "url", "url": "http://proxy.test:3128"}, `+tt.config+`}`)
		req := withUpstream(request(t, "GET", "//"+tt.to+"/", map[string]any{}), tt.to)
		req.Host = "secret.test:22"
		if res, err := tr.RoundTrip(req); err == nil {
			res.Body.Close()
		}
		if got := proxy.took(); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: the proxy is asked for %q, want %q", tt.to, got, tt.want)
		}
		if req.Host != "secret.test:22" || req.URL.Host != tt.to {
			t.Errorf("the reverse proxy's request is changed: %s of %s", req.URL, req.Host)
		}
	}
}

// TestCheckProxy: no placeholder that may be about a request chooses the proxy
// without permit_open.
func TestCheckProxy(t *testing.T) {
	anything, some := Permission{}, permitting(t, "proxy.test:3128")
	const needs = "needs permit_open on the tunnel"
	for _, tt := range []struct{ network, anywhere, restricted string }{
		{`{"from": "none"}`, "", ""},
		{`{"from": "url", "url": "http://proxy.test:3128"}`, "", ""},
		{`{"from": "url", "url": "http://other.test:3128"}`, "", `target "other.test:3128" is not permitted by permit_open; add it there`},
		{`{"from": "url", "url": "http://proxy.test"}`, "", `target "proxy.test:80" is not permitted`},
		{`{"from": "url", "url": "socks5://proxy.test"}`, "", `target "proxy.test:1080" is not permitted`},
		{`{"from": "url", "url": "proxy.test:3128"}`, `unknown scheme "proxy.test"`, `unknown scheme`},
		{`{"from": "url", "url": "http://a:s3cret@["}`, "not a URL", "not a URL"},
		{`{"from": "url", "url": "http://{env.USER}:{env.PASSWORD}@{file./etc/proxy}:3128"}`, "", ""},
		{`{"from": "url", "url": "http://{system.hostname}:3128"}`, "", ""},
		{`{"from": "url", "url": "http://\\{a.test:3128"}`, "", ""},
		{`{"from": "url", "url": "{http.request.header.X}"}`, needs, ""},
		{`{"from": "url", "url": "\u007bhttp.request.header.X}"}`, needs, ""},
		{`{"from": "url", "url": "{pick}"}`, needs, ""},
		{`{"from": "url", "url": "http://{vars.pick}:3128"}`, needs, ""},
		{`{"from": "url", "url": "http://{env.A}{re.pick.1}:3128"}`, needs, ""},
		{`{"from": "url", "url": "http://{system.pick}:3128"}`, needs, ""},
		{`{"from": "url", "url": "http://{time.pick}:3128"}`, needs, ""},
		{`{"from": "url", "url": "http://{envy}:3128"}`, needs, ""},
		{`{"from": "url", "url": "http://{}:3128"}`, needs, ""},
		{`{"from": "elsewhere"}`, `"elsewhere" is none of url and none: it needs permit_open`, ""},
	} {
		for _, check := range []struct {
			p    Permission
			want string
		}{{anything, tt.anywhere}, {some, tt.restricted}} {
			err := checkProxy(&reverseproxy.HTTPTransport{NetworkProxyRaw: []byte(tt.network)}, check.p)
			if (err == nil) != (check.want == "") || err != nil && !strings.Contains(err.Error(), check.want) {
				t.Errorf("%s, restricted %t: got error %v, want %q", tt.network, check.p.Restricts(), err, check.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: the error shows the password: %v", tt.network, err)
			}
		}
	}
	for _, url := range []string{"http://proxy.test:3128", "{pick}"} {
		err := checkProxy(&reverseproxy.HTTPTransport{ForwardProxyURL: url}, anything)
		if (err == nil) != (url != "{pick}") {
			t.Errorf("forward_proxy_url %s: got error %v", url, err)
		}
	}
	if err := checkProxy(&reverseproxy.HTTPTransport{NetworkProxyRaw: []byte(`{"from": "url", "url": "http://proxy.test:3128"}`), ProxyProtocol: "v1"}, anything); err == nil || !strings.Contains(err.Error(), "proxy_protocol") {
		t.Errorf("with proxy_protocol: got error %v", err)
	}
}

// TestMapPicksNoProxy: map gives placeholders of any name their values.
func TestMapPicksNoProxy(t *testing.T) {
	b, tun := newTunnel(t, "prod", nil)
	site := "map {header.X} {pick} {\ndefault http://secret.test:80\n}\nreverse_proxy 10.0.0.1:80 {\ntransport ssh_tunnel prod {\nnetwork_proxy url {pick}\n}\n}\n"
	if err := reload(freeAddress(t), tun(b.Addr()), "", site); err == nil || !strings.Contains(err.Error(), `by a placeholder in "{pick}"`) {
		t.Errorf("got error %v", err)
	}
}
