package transport

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func TestCheckUpstreamPermitted(t *testing.T) {
	p := caddytest.Permitting(t, "web:80", "localhost:80", "10.0.0.0/8:80", "unix//run/app-*")
	for _, dial := range []string{
		"web:80", "tcp/WEB:80", ":80", "10.0.0.1:80", "unix//run/app-1",
		"{http.request.host}:80", "web:{http.request.header.X}", "{file./etc/upstream}", "unix/{http.request.uri.path}", "{a:b:c}",
	} {
		if err := checkUpstream(dial, p); err != nil {
			t.Errorf("%q: %v", dial, err)
		}
	}
	for dial, want := range map[string]string{
		"web:81":        `tunnel "prod": target "web:81" is not permitted by permit_open; add it there`,
		":81":           `target "localhost:81" is not permitted`,
		"127.0.0.1:80":  `target "127.0.0.1:80" is not permitted`,
		"unix//run/app": `target "unix//run/app" is not permitted`,
		"udp/{host}:80": `network "udp" does not`,
		"fd/{host}":     `network "fd" does not`,
		"web:80-81":     "a range of ports",
	} {
		if err := checkUpstream(dial, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want %s", dial, err, want)
		}
	}
	h := &reverseproxy.Handler{DynamicUpstreamsRaw: json.RawMessage(`{"source": "a", "name": "{http.request.host}", "port": "80"}`)}
	if err := checkUpstreams(h, p); err != nil {
		t.Error(err)
	}
}

// TestPlaceholderUpstreams: no value of a placeholder leads to another network
// than the one that is written, or to what is not permitted.
func TestPlaceholderUpstreams(t *testing.T) {
	for _, tt := range []struct {
		dial, value string
		want        string // "" if it is refused
	}{
		{"{x}", "web:80", "web:80"},
		{"{x}:80", "web", "web:80"},
		{"tcp/{x}:80", "web", "web:80"},
		{"{x}:80", "127.1", "127.0.0.1:80"},
		{"{x}:80", "[::ffff:127.0.0.1]", "127.0.0.1:80"},
		{"unix/{x}", "/run/app.sock", "/run/app.sock"},
		{"unix//run/{x}.sock", "app", "/run/app.sock"},
		{"unix//run/{x}.sock", "x/../app", "/run/app.sock"},

		{"{x}", "db:80", ""},
		{"{x}", "unix//run/app.sock", ""},
		{"{x}", "fd/3", ""},
		{"{x}", "udp/web:80", ""},
		{"{x}", "web:80-81", ""},
		{"{x}", "web", ""},
		{"{x}", "", ""},
		{"{x}:80", "unix//run/app.sock", ""},
		{"{x}:80", "db:80/web", ""},
		{"{x}:80", "", ""},
		{"{x}:80", "127.0.0.1.", ""},
		{"{x}:80", "web\x00", ""},
		{"{x}.internal:80", "unix//run/app.sock?", ""},
		{"unix/{x}", "run/app.sock", ""},
		{"unix/{x}", "/run/app.sock/../db.sock", ""},
		{"unix//run/{x}.sock", "../tmp/app", ""},
	} {
		h := &reverseproxy.Handler{Upstreams: reverseproxy.UpstreamPool{{Dial: tt.dial}}}
		p := caddytest.Permitting(t, "web:80", "127.0.0.1:80", "unix//run/app.sock")
		if err := checkUpstreams(h, p); err != nil {
			t.Error(err)
			continue
		}
		renameUpstreams(h, "Prod")
		repl := caddy.NewEmptyReplacer()
		repl.Set("x", tt.value)
		// As the reverse proxy does.
		addr, err := caddy.ParseNetworkAddress(repl.ReplaceAll(h.Upstreams[0].Dial, ""))
		got := tunnel.Target{}
		if err == nil && addr.PortRangeSize() != 1 {
			err = errors.New("several ports")
		}
		if err == nil {
			e := &dialRequest{upstream: &reverseproxy.DialInfo{Network: addr.Network, Address: addr.JoinHostPort(0), Host: addr.Host}}
			got, err = e.upstreamTarget(nil, p)
		}
		if (err != nil) != (tt.want == "") || got.Address != tt.want {
			t.Errorf("%q with %q leads to %+v (%v), want %q", tt.dial, tt.value, got, err, tt.want)
		}
	}
}

// TestPermittedProxy: behind a network_proxy both have to be permitted, it and
// the upstream; even for a request that needs no dial.
func TestPermittedProxy(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{Name: "proxy"})
	for _, config := range []string{
		`{"network_proxy": {"from": "url", "url": "http://proxy.test:3128"}}`,
		`{"network_proxy": {"from": "url", "url": "{http.request.header.X}"}}`,
	} {
		tun := &caddytest.Tunnel{Permission: caddytest.Permitting(t, "proxy.test:3128", "web.test:80"), Routes: map[string]string{"proxy.test:3128": web.Addr()}}
		tr := newTransport(t, tun, config)
		ask := func(proxy, upstream string) int {
			t.Helper()
			req := withUpstream(request(t, "GET", "//"+strings.TrimSuffix(upstream, ":80")+"/hello", map[string]any{}), upstream)
			repl := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			repl.Set("http.request.header.X", proxy)
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			return res.StatusCode
		}
		for range 2 {
			for upstream, want := range map[string]int{"web.test:80": 200, "WEB.test.:80": 200, "db.test:80": 403, "web.test:81": 403, "localhost:80": 403} {
				if got := ask("http://proxy.test:3128", upstream); got != want {
					t.Errorf("%s: status %d, want %d", upstream, got, want)
				}
			}
		}
		if strings.Contains(config, "{http.") {
			for _, other := range []string{"http://other.test:3128", "http://proxy.test", "socks5://proxy.test", "ftp://proxy.test:3128", "http://[", "", "http://:80"} {
				if got := ask(other, "web.test:80"); got != 403 {
					t.Errorf("proxy %q: status %d", other, got)
				}
			}
		}
		for _, target := range tun.Dialed() {
			if target.Address != "proxy.test:3128" {
				t.Errorf("dialed %+v", target)
			}
		}
	}
}
