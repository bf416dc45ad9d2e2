package transport

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
)

// TestProxyConnects: a proxy that is asked to connect is asked for the spelling
// that was compared as well.
func TestProxyConnects(t *testing.T) {
	for _, tt := range []struct{ config, to, want string }{
		{`"tls": {"insecure_skip_verify": true}`, "012.0.0.1:443", "CONNECT 10.0.0.1:443 HTTP/1.1|10.0.0.1:443"},
		{`"tls": {"insecure_skip_verify": true}`, "WEB.test.:443", "CONNECT web.test:443 HTTP/1.1|web.test:443"},
		{`"tls": {"insecure_skip_verify": true}, "versions": ["2"]`, "[FD00:0::5]:443", "CONNECT [fd00::5]:443 HTTP/1.1|[fd00::5]:443"},
		{`"versions": ["1.1"]`, "[FD00:0::5]:443", "GET http://[fd00::5]:443/ HTTP/1.1|[fd00::5]:443"},
	} {
		proxy := caddytest.NewRecorder(t)
		tun := &caddytest.Tunnel{Permission: caddytest.Permitting(t, "proxy.test:3128", "10.0.0.0/8:443", "web.test:443", "[fd00::/8]:443"), Routes: map[string]string{"proxy.test:3128": proxy.Addr().String()}}
		tr := newTransport(t, tun, `{"network_proxy": {"from": "url", "url": "http://proxy.test:3128"}, `+tt.config+`}`)
		req := withUpstream(request(t, "GET", "//"+tt.to+"/", map[string]any{}), tt.to)
		req.Host = "secret.test:22"
		if res, err := tr.RoundTrip(req); err == nil {
			res.Body.Close()
		}
		if got := proxy.Took(); !slices.Equal(got, []string{tt.want}) {
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
	anything, some := dialer.Permission{}, caddytest.Permitting(t, "proxy.test:3128")
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
			p    dialer.Permission
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
