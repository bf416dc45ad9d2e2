package contract

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestMain(m *testing.M) { os.Exit(caddytest.Main(m)) }

func init() {
	caddy.RegisterModule(spy{})
	caddy.RegisterModule(spyApp{})
	caddy.RegisterModule(spySource{})
	RegisterNetwork("contract", spyListen)
}

// seen is what the modules below have seen of Caddy.
var seen struct {
	sync.Mutex
	parent    *reverseproxy.Handler
	upstreams []string // as they are when the transport is provisioned
	tooLate   bool     // upstreams or response handlers were provisioned before
	client    string
	http1     bool
	sites     []SiteAddress
	listening []bool              // what ListeningModule says of each listener
	sources   []http.RoundTripper // the transports of those that load sources; nil if there is none
}

// spy is a transport that answers by itself.
type spy struct{}

func (spy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.contract", New: func() caddy.Module { return new(spy) }}
}

func (spy) Provision(ctx caddy.Context) error {
	if _, err := ctx.AppIfConfigured("contract"); err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return err
	}
	seen.Lock()
	defer seen.Unlock()
	seen.parent, seen.upstreams, seen.tooLate = ParentHandler(ctx), nil, false
	if seen.parent == nil {
		return nil
	}
	for _, u := range seen.parent.Upstreams {
		seen.upstreams = append(seen.upstreams, u.Dial)
		seen.tooLate = seen.tooLate || u.Host != nil
		u.Dial = NameUpstream("", u.Dial, "prod")
	}
	for _, h := range seen.parent.HandleResponse {
		seen.tooLate = seen.tooLate || len(h.Routes) > 0 && h.Routes[0].HandlersRaw == nil
	}
	return nil
}

func (spy) RoundTrip(req *http.Request) (*http.Response, error) {
	seen.Lock()
	defer seen.Unlock()
	seen.client, seen.http1 = ProxyProtocolClient(req.Context()).String(), WantsHTTP1(req.Context())
	return &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

// spyApp is an app that looks at the sites, as one that is provisioned before the http
// app, after it, or by the transport in the middle of it.
type spyApp struct{}

func (spyApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "contract", New: func() caddy.Module { return new(spyApp) }}
}

func (spyApp) Provision(ctx caddy.Context) error {
	sites := SiteAddresses(ctx, "contract") // provisions the transport
	seen.Lock()
	defer seen.Unlock()
	seen.sites = sites
	return nil
}

func (spyApp) Start() error { return nil }
func (spyApp) Stop() error  { return nil }

// spySource is a source of dynamic upstreams that has none.
type spySource struct{}

func (spySource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.contract", New: func() caddy.Module { return new(spySource) }}
}

func (spySource) Provision(ctx caddy.Context) error {
	seen.Lock()
	defer seen.Unlock()
	h := SourceHandler(ctx)
	if h == nil {
		return errors.New("no handler")
	}
	seen.sources = append(seen.sources, h.Transport)
	return nil
}

func (spySource) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) { return nil, nil }

// TestSourceHandler: a source knows the transport that its upstreams are dialed with,
// within the source multi as well.
func TestSourceHandler(t *testing.T) {
	route := func(transport, source string) string {
		return `{"handle": [{"handler": "subroute", "routes": [{"handle": [{"handler": "reverse_proxy", ` + transport + `"dynamic_upstreams": ` + source + `}]}]}]}`
	}
	const (
		contract = `"transport": {"protocol": "contract"}, `
		direct   = `{"source": "contract"}`
		within   = `{"source": "multi", "sources": [{"source": "contract"}, {"source": "multi", "sources": [{"source": "contract"}]}]}`
	)
	run(t, `{"http": {"servers": {"s": {"listen": ["127.0.0.1:`+freePort(t)+`"], "automatic_https": {"disable": true}, "routes": [`+
		route(contract, direct)+`, `+route(contract, within)+`, `+route("", direct)+`]}}}}`)
	if len(seen.sources) != 4 {
		t.Fatalf("%d sources", len(seen.sources))
	}
	for i, transport := range seen.sources {
		if _, ok := transport.(*spy); ok != (i < 3) {
			t.Errorf("source %d: the transport is %T", i, transport)
		}
	}
}

// spyListen is the listener function of a network: it listens on the loopback.
func spyListen(ctx context.Context, _, _, portRange string, _ uint, config net.ListenConfig) (any, error) {
	_, ok := ListeningModule(ctx)
	seen.Lock()
	seen.listening = append(seen.listening, ok)
	seen.Unlock()
	return config.Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", portRange))
}

const proxyRoute = `{"handler": "reverse_proxy", "transport": {"protocol": "contract"}, "upstreams": [{"dial": "web.internal:80"}],
	"handle_response": [{"routes": [{"handle": [{"handler": "static_response"}]}]}]}`

// run runs Caddy with a configuration of apps, until the test ends.
func run(t *testing.T, apps string) {
	t.Helper()
	var cfg caddy.Config
	config := `{"admin": {"disabled": true}, "logging": {"logs": {"default": {"writer": {"output": "discard"}}}}, "apps": ` + apps + `}`
	if err := caddy.StrictUnmarshalJSON([]byte(config), &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Run(&cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestHandler serves a request with a reverse proxy inside another handler: what a
// transport gets of it, when it is provisioned and with a request.
func TestHandler(t *testing.T) {
	port := freePort(t)
	run(t, `{"http": {"servers": {"s": {"listen": ["contract/any:`+port+`"], "automatic_https": {"disable": true}, "routes": [{"handle": [
		{"handler": "subroute", "routes": [{"handle": [`+proxyRoute+`]}]}]}]}}}}`)
	if seen.parent == nil || !slices.Equal(seen.upstreams, []string{"web.internal:80"}) || seen.tooLate {
		t.Fatalf("the handler is %v, its upstreams %q, provisioned before: %t", seen.parent, seen.upstreams, seen.tooLate)
	}
	if !slices.Equal(seen.listening, []bool{true}) {
		t.Errorf("the listening modules: %v", seen.listening)
	}
	if names := upstreamNames(t); !slices.Contains(names, "ssh_tunnel+prod/web.internal:80") {
		t.Errorf("the upstreams are known as %q", names)
	}
	if _, ok := ListeningModule(context.Background()); ok {
		t.Error("the admin endpoint has a module")
	}

	for upgrade, http1 := range map[string]bool{"": false, "Connection: Upgrade\r\nUpgrade: websocket\r\n": true} {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: any\r\n"+upgrade+"\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		seen.Lock()
		if res.StatusCode != http.StatusOK || seen.client != "127.0.0.1:0" || seen.http1 != http1 {
			t.Errorf("%q: got %d, client %s, HTTP/1 %t", upgrade, res.StatusCode, seen.client, seen.http1)
		}
		seen.Unlock()
		_ = conn.Close()
	}
}

// TestUpstreamNames: Caddy takes a name apart into a network of the tunnel's and
// what was written; one of a socket has no port.
func TestUpstreamNames(t *testing.T) {
	for _, test := range []struct{ network, rest, name, parsed string }{
		{"", "web:80", "ssh_tunnel+prod/web:80", "ssh_tunnel+prod web:80"},
		{"tcp", "[::1]:80", "ssh_tunnel+prod/[::1]:80", "ssh_tunnel+prod [::1]:80"},
		{"unix", "/run/web.sock", "unix+ssh_tunnel+prod//run/web.sock", "unix+ssh_tunnel+prod /run/web.sock"},
	} {
		name := NameUpstream(test.network, test.rest, "prod")
		if name != test.name {
			t.Errorf("got %q, want %q", name, test.name)
		}
		a, err := caddy.ParseNetworkAddress(name)
		if got := a.Network + " " + a.JoinHostPort(0); err != nil || got != test.parsed || a.PortRangeSize() != 1 {
			t.Errorf("%q is read as %q (%v), %d ports", name, got, err, a.PortRangeSize())
		}
	}
}

// TestHTTP3 runs a site with a certificate, for which Caddy listens for HTTP/3 as well.
// It refuses to start where it cannot.
func TestHTTP3(t *testing.T) {
	port := freePort(t)
	run(t, `{"tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}}, "pki": {"certificate_authorities": {"local": {"install_trust": false}}},
		"http": {"servers": {"s": {"listen": ["contract/any:`+port+`"], "automatic_https": {"disable_redirects": true}, "routes": [{"match": [{"host": ["localhost"]}],
			"handle": [{"handler": "static_response", "body": "hello"}]}]}}}}`)
}

// TestRedirectServer: a site with a certificate on one network has the server for
// its redirects there, too.
func TestRedirectServer(t *testing.T) {
	var cfg caddy.Config
	config := `{"admin": {"disabled": true}, "logging": {"logs": {"default": {"writer": {"output": "discard"}}}}, "apps": {
		"tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}},
		"http": {"servers": {"s": {"listen": ["contract/any:443"], "routes": [{"match": [{"host": ["www.example.com"]}], "terminal": true}]}}}}}`
	if err := caddy.StrictUnmarshalJSON([]byte(config), &cfg); err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ctx.App("http"); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint]bool{80: true, 443: false} {
		address := caddy.NetworkAddress{Network: "contract", Host: "any", StartPort: port, EndPort: port}
		if got := ListensForRedirects(ctx, address); got != want {
			t.Errorf("%s: got %t", address, got)
		}
	}
}

// TestSiteAddresses: whichever app is provisioned first, the addresses are the same. Caddy
// takes the apps in any order.
func TestSiteAddresses(t *testing.T) {
	t.Setenv("CONTRACT_TEST_PORT", "8080")
	want := []string{"a contract/any:8443", "b contract/prod/*:8080", "b contract/prod/*:8081"}
	for _, route := range []string{`{"handler": "static_response"}`, proxyRoute} {
		for range 10 {
			seen.sites = nil
			var cfg caddy.Config
			config := `{"admin": {"disabled": true}, "logging": {"logs": {"default": {"writer": {"output": "discard"}}}}, "apps": {"contract": {},
				"tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}},
				"http": {"https_port": 8443, "servers": {
					"b": {"listen": ["contract/prod/*:{env.CONTRACT_TEST_PORT}-8081", "127.0.0.1:1"], "routes": [{"handle": [` + route + `]}]},
					"a": {"listen": ["contract/any:8443"], "routes": [{"match": [{"host": ["www.example.com"]}], "terminal": true}]}}}}}`
			if err := caddy.StrictUnmarshalJSON([]byte(config), &cfg); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&cfg); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, site := range seen.sites {
				got = append(got, site.Server+" "+site.Address.String())
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: got %q, want %q", route, got, want)
			}
		}
	}
}

// TestAdminError takes the errors of caddycmd.AdminAPIRequest apart.
func TestAdminError(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "two\nlines")
	}))
	defer server.Close()
	_, err := caddycmd.AdminAPIRequest(server.Listener.Addr().String(), http.MethodGet, "/", nil, nil)
	if status, body, ok := AdminError(err); !ok || status != "418" || body != "two\nlines" {
		t.Errorf("%v: got %q, %q, %t", err, status, body, ok)
	}
	_, err = caddycmd.AdminAPIRequest("127.0.0.1:"+freePort(t), http.MethodGet, "/", nil, nil)
	if _, _, ok := AdminError(err); ok {
		t.Errorf("%v: an answer", err)
	}
	if cause := AdminCause(err); !strings.HasPrefix(cause, "dial tcp 127.0.0.1:") {
		t.Errorf("%v: the cause is %q", err, cause)
	}
}

// upstreamNames returns the names that the admin API has for upstreams.
func upstreamNames(t *testing.T) (names []string) {
	t.Helper()
	info, err := caddy.GetModule("admin.api.reverse_proxy")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	routes := info.New().(caddy.AdminRouter).Routes()
	if err := routes[0].Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/reverse_proxy/upstreams", nil)); err != nil {
		t.Fatal(err)
	}
	var all []struct{ Address string }
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	for _, u := range all {
		names = append(names, u.Address)
	}
	return names
}

func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(sshtest.NewPort(t))
}
