package sshtunnel

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
)

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
	proxy := caddytest.NewRecorder(t)
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
				proxy.Took()
				status := rawStatus(t, address, r.line, "Host: "+r.host, "To: "+r.to, "Content-Length: 0")
				want, wantStatus := []string{r.want}, 204
				if r.want == "" {
					want, wantStatus = nil, 403
				}
				if got := proxy.Took(); status != wantStatus || !slices.Equal(got, want) {
					t.Errorf("%s of %s to %s: status %d, and the proxy is asked for %q, want %q", r.line, r.host, r.to, status, got, want)
				}
			}
		})
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
