package sshtunnel

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// restricted adds a permit_open to the Caddyfile of a tunnel.
func restricted(tunnel, patterns string) string {
	return strings.Replace(tunnel, "{\n", "{\npermit_open "+patterns+"\n", 1)
}

// rawStatus sends a request as it is written and returns the response's status.
func rawStatus(t *testing.T, address string, lines ...string) int {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(sshtest.Patience))
	if _, err := conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(lines[0], " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s: %v", lines, err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// TestDenials: one client's request for what is not permitted is answered, not
// tried again, and held against nobody, whatever the reverse proxy is configured
// to hold against an upstream.
func TestDenials(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{Name: "web"})
	ln := caddytest.ListenAndCount(t) // a proxy that takes no connection
	b, tun := newTunnel(t, "prod", hosts{"web.test:80": web.Addr(), "proxy.test:3128": ln.Addr().String()})
	const strict = `
	lb_try_duration 1h
	lb_try_interval 1ms
	lb_retry_match {
		expression ` + "`{rp.status_code} >= 400 || {rp.is_transport_error} == true`" + `
	}
	fail_duration 1h
	max_fails 1
	unhealthy_status 4xx 5xx
`
	// What is retried for an hour is not answered before the client gives up.
	address := serve(t, restricted(tun(b.Addr()), "web.test:80"), "", `
handle /dynamic/* {
	uri strip_prefix /dynamic
	reverse_proxy {
		dynamic a {header.To} 80
		transport ssh_tunnel prod
		`+strict+`
	}
}
handle /proxy/* {
	uri strip_prefix /proxy
	reverse_proxy web.test:80 {
		transport ssh_tunnel prod {
			network_proxy url {header.To}
		}
		`+strict+`
	}
}
handle /response/* {
	uri strip_prefix /response
	reverse_proxy {header.To}:80 {
		transport ssh_tunnel prod
		handle_response {
			copy_response
		}
		`+strict+`
	}
}
handle /auth/* {
	uri strip_prefix /auth
	forward_auth {header.To}:80 {
		uri /hello
		transport ssh_tunnel prod
		`+strict+`
	}
	respond authorized
}
handle {
	reverse_proxy {header.To}:80 {
		transport ssh_tunnel prod
		`+strict+`
	}
}
handle_errors 403 {
	respond "denied: {err.message}" 403
}
handle_errors {
	respond "failed: {err.message}"
}`)
	ask := func(method, path, to string, more ...string) answer {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(strings.Repeat("x", len(method)<<10)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("To", to)
		for _, field := range more {
			name, value, _ := strings.Cut(field, ": ")
			req.Header.Set(name, value)
		}
		return do(t, req)
	}
	for _, path := range []string{"", "/dynamic", "/response", "/auth"} {
		for range 3 {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				if a := ask(method, path+"/hello", "10.0.0.1"); a.status != 403 || a.body != `denied: tunnel "prod": target "10.0.0.1:80" is not permitted by permit_open` {
					t.Errorf("%s %s: %d %q", method, path, a.status, a.body)
				}
			}
			if a := ask("GET", path+"/ws", "10.0.0.1", "Connection: Upgrade", "Upgrade: websocket"); a.status != 403 {
				t.Errorf("%s: an upgrade: %d %q", path, a.status, a.body)
			}
		}
	}
	for range 3 {
		for _, proxy := range []string{"http://proxy.test:3128", "socks5://proxy.test:3128", "ftp://web.test:80", "http://[", ""} {
			if a := ask("GET", "/proxy/hello", proxy); a.status != 403 {
				t.Errorf("proxy %q: %d %q", proxy, a.status, a.body)
			}
		}
	}
	for path, want := range map[string]string{"": "hello from web\n", "/response": "hello from web\n", "/auth": "authorized"} {
		if a := ask("GET", path+"/hello", "web.test"); a.status != 200 || a.body != want {
			t.Errorf("%s: what is permitted: %d %q", path, a.status, a.body)
		}
	}
	// The upstream takes the proxy's place here.
	if a := ask("GET", "/proxy/hello", "http://web.test:80"); a.status != 200 {
		t.Errorf("a proxy that is permitted: %d %q", a.status, a.body)
	}
	if n := ln.Accepted(); n > 0 {
		t.Errorf("%d connections to a proxy that is not permitted", n)
	}
}

// do makes a request and reads the response.
func do(t *testing.T, req *http.Request) answer {
	t.Helper()
	client := http.Client{Timeout: sshtest.Patience}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, res)
}

func init() {
	caddy.RegisterModule(thirdParty{})
	httpcaddyfile.RegisterHandlerDirective("third_party", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		p := new(thirdParty)
		return p, p.UnmarshalCaddyfile(h.Dispenser)
	})
	httpcaddyfile.RegisterDirectiveOrder("third_party", httpcaddyfile.Before, "reverse_proxy")
}

// thirdParty is a handler that has a reverse proxy in it, as FrankenPHP and others
// do.
type thirdParty struct{ reverseproxy.Handler }

func (thirdParty) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.third_party", New: func() caddy.Module { return new(thirdParty) }}
}

func (p *thirdParty) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return p.Handler.UnmarshalCaddyfile(d)
}

// TestThirdPartyHandler: the upstreams of a handler that is not Caddy's own are
// checked at each request; it needs permit_open.
func TestThirdPartyHandler(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{Name: "web"})
	b, tun := newTunnel(t, "prod", hosts{"10.0.0.5:80": web.Addr(), "10.0.0.6:80": web.Addr()})
	for name, site := range map[string]string{
		"chosen":  "third_party {header.To}:80 {\ntransport ssh_tunnel prod\n}",
		"static":  "third_party 10.0.0.5:80 {\ntransport ssh_tunnel prod\n}",
		"dynamic": "third_party {\ndynamic a {header.To} 80\ntransport ssh_tunnel prod\n}",
		// Further up there is a reverse_proxy whose upstreams are in order.
		"within another": "reverse_proxy 10.0.0.5:80 {\ntransport ssh_tunnel prod\nhandle_response {\nthird_party {header.To}:80 {\ntransport ssh_tunnel prod\n}\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			if err := reload(freeAddress(t), tun(b.Addr()), "", site); err == nil || !strings.Contains(err.Error(), "add permit_open to the tunnel") {
				t.Errorf("without permit_open: got error %v", err)
			}
			address := serve(t, restricted(tun(b.Addr()), "10.0.0.5:80"), "", site)
			for to, want := range map[string]int{"10.0.0.5": 200, "10.0.0.6": 403} {
				if name == "static" {
					want = 200
				}
				if got := rawStatus(t, address, "GET /hello HTTP/1.1", "Host: "+address, "To: "+to); got != want {
					t.Errorf("%s: status %d, want %d", to, got, want)
				}
			}
		})
	}
}
