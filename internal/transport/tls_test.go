package transport

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/pires/go-proxyproto"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestTransportTLS(t *testing.T) {
	ca := sshtest.NewCA()
	web := sshtest.NewWeb(t, sshtest.WebOptions{TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("a.test", "b.test", "127.0.0.1")}}})
	trust := `"ca": {"provider": "file", "pem_files": ["` + sshtest.WriteFile(t, "ca.pem", ca.PEM()) + `"]}`

	for _, tt := range []struct {
		name, config string
		vars         map[string]any
		address      string
		proto, sni   string
	}{
		{name: "the upstream's name", config: `{"tls": {` + trust + `}}`, address: "//a.test/headers", proto: "HTTP/2.0", sni: "a.test"},
		{name: "static name", config: `{"tls": {` + trust + `, "server_name": "b.test"}}`, address: "//a.test/headers", proto: "HTTP/2.0", sni: "b.test"},
		{name: "placeholder", config: `{"tls": {` + trust + `, "server_name": "{test.name}"}}`, address: "//a.test/headers", proto: "HTTP/2.0", sni: "b.test"},
		{name: "HTTP/1.1", config: `{"tls": {` + trust + `}, "versions": ["1.1"]}`, address: "//a.test/headers", proto: "HTTP/1.1", sni: "a.test"},
		{name: "HTTP/1.1 for a WebSocket", config: `{"tls": {` + trust + `}}`, address: "//a.test/headers", vars: map[string]any{contract.TLSHTTP1OnlyVar: true}, proto: "HTTP/1.1", sni: "a.test"},
		{name: "an unverified name", config: `{"tls": {"insecure_skip_verify": true}}`, address: "//c.test/headers", proto: "HTTP/2.0", sni: "c.test"},
		{name: "except_ports", config: `{"tls": {"insecure_skip_verify": true, "except_ports": ["1"]}}`, address: "//c.test/headers", proto: "HTTP/2.0", sni: "c.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tun := &caddytest.Tunnel{Routes: map[string]string{"a.test:443": web.Addr(), "c.test:443": web.Addr()}}
			tr := newTransport(t, tun, tt.config)
			req := request(t, "GET", tt.address, tt.vars)
			req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("test.name", "b.test")
			if tt.vars != nil { // as Caddy says it twice
				req.Header.Set("Connection", "Upgrade")
				req.Header.Set("Upgrade", "websocket")
			}
			h := headersOf(t, tr, req)
			if h.Proto != tt.proto || h.ServerName != tt.sni {
				t.Errorf("got %s to %q, want %s to %q", h.Proto, h.ServerName, tt.proto, tt.sni)
			}
		})
	}

	t.Run("PROXY protocol in the URL's host", func(t *testing.T) {
		// The reverse proxy then puts the client before the upstream, and the
		// name to verify is to be found elsewhere.
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		proxied := sshtest.NewWeb(t, sshtest.WebOptions{
			Listener: &proxyproto.Listener{Listener: ln, ReadHeaderTimeout: time.Minute},
			TLS:      &tls.Config{Certificates: []tls.Certificate{ca.Issue("127.0.0.1")}},
		})
		tr := newTransport(t, new(caddytest.Tunnel), `{"proxy_protocol": "v2", "tls": {`+trust+`}}`)
		req := request(t, "GET", "//host/headers", map[string]any{
			contract.ProxyProtocolInfoVar: reverseproxy.ProxyProtocolInfo{AddrPort: netip.MustParseAddrPort("192.0.2.1:7")},
		})
		req.URL.Host = url.QueryEscape("192.0.2.1:7->" + proxied.Addr())
		h := headersOf(t, tr, withUpstream(req, proxied.Addr()))
		if h.RemoteAddr != "192.0.2.1:7" || h.Proto != "HTTP/2.0" {
			t.Errorf("got %s from %s", h.Proto, h.RemoteAddr)
		}
	})

	t.Run("unknown authority", func(t *testing.T) {
		tun := new(caddytest.Tunnel)
		tr := newTransport(t, tun, `{"tls": {}}`)
		res, err := tr.RoundTrip(request(t, "GET", "//"+web.Addr()+"/", nil))
		if err == nil {
			res.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "TLS handshake with upstream: ") || caddyhttp.Error(500, err).StatusCode != 502 {
			t.Errorf("got error %v", err)
		}
		if n := tun.OpenChannels.Load(); n != 0 {
			t.Errorf("%d channels left open", n)
		}
	})

	t.Run("silent upstream", func(t *testing.T) {
		ln := caddytest.ListenAndCount(t)
		tun := new(caddytest.Tunnel)
		tr := newTransport(t, tun, `{"tls": {"handshake_timeout": 50000000}}`)
		res, err := tr.RoundTrip(request(t, "GET", "//"+ln.Addr().String()+"/", nil))
		if err == nil {
			res.Body.Close()
		}
		if err == nil || caddyhttp.Error(502, err).StatusCode != 504 {
			t.Errorf("got error %v", err)
		}
		if n := tun.OpenChannels.Load(); n != 0 {
			t.Errorf("%d channels left open", n)
		}
	})
}

// withUpstream adds what Caddy's reverse proxy says about the upstream, under a
// key that it does not export.
func withUpstream(req *http.Request, address string) *http.Request {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	info := reverseproxy.DialInfo{Network: "tcp", Address: address, Host: host, Port: port}
	return req.WithContext(context.WithValue(req.Context(), caddy.CtxKey("reverse_proxy.dial_info"), info))
}

func TestTransportH2C(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{H2C: true})
	tr := Transport{}.CaddyModule().New().(*Transport)
	if err := tr.EnableH2C(); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	tr = newTransport(t, new(caddytest.Tunnel), string(config))
	if h := headersOf(t, tr, request(t, "GET", "//"+web.Addr()+"/headers", nil)); h.Proto != "HTTP/2.0" {
		t.Errorf("got %s", h.Proto)
	}
}
