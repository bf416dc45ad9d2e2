package upstreams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
)

// source is a provisioned source of upstreams, and its log.
type source struct {
	*Upstreams
	t   *testing.T
	log *observer.ObservedLogs
}

// newSource provisions a source, given as JSON without what every one has, on a tunnel.
func newSource(t *testing.T, tun *caddytest.Tunnel, options string) *source {
	t.Helper()
	u := new(Upstreams)
	config := `{"tunnel": "prod", "resolvers": ["dns.internal"], ` + options + `}`
	if err := caddy.StrictUnmarshalJSON([]byte(config), u); err != nil {
		t.Fatal(err)
	}
	core, log := observer.New(zapcore.DebugLevel)
	u.log, u.transport = zap.New(core), &transport.Transport{TunnelName: "prod"}
	if err := u.provision(tun); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := u.Cleanup(); err != nil {
				t.Error(err)
			}
		}
	})
	return &source{u, t, log}
}

// request returns a request, of which a part of the host is a placeholder's value.
func request(t *testing.T, host string) (*http.Request, *caddy.Replacer) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://site.example", nil)
	repl := caddy.NewReplacer()
	repl.Set("http.request.host", host)
	return r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)), repl
}

// get returns the upstreams of a request, in order.
func (s *source) get(host string) (string, error) {
	s.t.Helper()
	r, _ := request(s.t, host)
	upstreams, err := s.GetUpstreams(r)
	var dials []string
	for _, u := range upstreams {
		dials = append(dials, u.Dial)
	}
	slices.Sort(dials)
	return strings.Join(dials, " "), err
}

func (s *source) want(host, want string) {
	s.t.Helper()
	if got, err := s.get(host); err != nil || got != want {
		s.t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestAddresses(t *testing.T) {
	s := newServer(t)
	s.set("web.internal.", a("10.0.0.1"), a("10.0.0.2"), a("fd00::1"))
	s.set("v6.internal.", a("fd00::1"))
	tun := &caddytest.Tunnel{Routes: map[string]string{"dns.internal:53": s.Addr().String()}}

	newSource(t, tun, `"type": "a", "name": "web.internal"`).want("", "ssh_tunnel+prod/10.0.0.1:80 ssh_tunnel+prod/10.0.0.2:80 ssh_tunnel+prod/[fd00::1]:80")
	if got := s.took(); len(got) != 2 {
		t.Errorf("asked for %q", got)
	}
	newSource(t, tun, `"type": "a", "name": "web.internal.", "port": "8080", "versions": ["ipv4"]`).want("", "ssh_tunnel+prod/10.0.0.1:8080 ssh_tunnel+prod/10.0.0.2:8080")
	if got := s.took(); !slices.Equal(got, []string{"web.internal. A"}) {
		t.Errorf("asked for %q", got)
	}
	newSource(t, tun, `"type": "a", "name": "v6.internal"`).want("", "ssh_tunnel+prod/[fd00::1]:80")
	if _, err := newSource(t, tun, `"type": "a", "name": "v6.internal", "versions": ["ipv4"]`).get(""); !errors.Is(err, errNoRecords) {
		t.Errorf("got %v", err)
	}

	// A version that fails is no matter if there is another one; otherwise it is what
	// counts.
	s.edit = func(m *dnsmessage.Message) []byte {
		if m.Questions[0].Type == dnsmessage.TypeAAAA {
			return rcodeIs(dnsmessage.RCodeServerFailure)(m)
		}
		return mustPack(m)
	}
	newSource(t, tun, `"type": "a", "name": "web.internal", "port": "81"`).want("", "ssh_tunnel+prod/10.0.0.1:81 ssh_tunnel+prod/10.0.0.2:81")
	if _, err := newSource(t, tun, `"type": "a", "name": "v6.internal", "port": "81"`).get(""); err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("got %v", err)
	}
}

func TestServices(t *testing.T) {
	s := newServer(t)
	s.set("_http._tcp.web.internal.", srv("Web1.internal.", 8080, 1, 1), srv("web2.internal.", 8081, 1, 1),
		// None of these can be dialed.
		srv(".", 80, 1, 1), srv("web3.internal.", 0, 1, 1), srv("{env.HOME}.internal.", 80, 1, 1), srv("10.0.0.1.", 80, 1, 1))
	s.set("_none._tcp.web.internal.", srv(".", 0, 0, 0))
	tun := &caddytest.Tunnel{Routes: map[string]string{"dns.internal:53": s.Addr().String()}}
	const want = "ssh_tunnel+prod/web1.internal:8080 ssh_tunnel+prod/web2.internal:8081"
	newSource(t, tun, `"type": "srv", "name": "_http._tcp.web.internal"`).want("", want)
	newSource(t, tun, `"type": "srv", "service": "http", "proto": "tcp", "name": "web.internal"`).want("", want)
	if _, err := newSource(t, tun, `"type": "srv", "name": "_none._tcp.web.internal"`).get(""); !errors.Is(err, errNoRecords) {
		t.Errorf("got %v", err)
	}
}

// TestPlaceholders: each request has its own name and port, and none that is no name.
func TestPlaceholders(t *testing.T) {
	s := newServer(t)
	s.set("one.internal.", a("10.0.0.1"))
	s.set("two.internal.", a("10.0.0.2"))
	tun := &caddytest.Tunnel{Permission: caddytest.Permitting(t, "10.0.0.0/8:80", "dns.internal:53"), Routes: map[string]string{"dns.internal:53": s.Addr().String()}}
	u := newSource(t, tun, `"type": "a", "name": "{http.request.host}.internal", "versions": ["ipv4"]`)
	for range 2 {
		u.want("one", "ssh_tunnel+prod/10.0.0.1:80")
		u.want("TWO", "ssh_tunnel+prod/10.0.0.2:80")
	}
	if got := s.took(); len(got) != 2 {
		t.Errorf("asked for %q", got)
	}
	for _, host := range []string{"", "a b", "{env.HOME}", "x/..", "-\x00"} {
		if got, err := u.get(host); err == nil {
			t.Errorf("%q leads to %s", host, got)
		}
	}
	if got := s.took(); len(got) > 0 {
		t.Errorf("asked for %q", got)
	}
}

// TestDeniedUpstreams: what permit_open does not permit is left out, unless nothing
// else is left.
func TestDeniedUpstreams(t *testing.T) {
	s := newServer(t)
	s.set("web.internal.", a("10.0.0.1"), a("127.0.0.1"), a("10.0.0.2"))
	s.set("bad.internal.", a("127.0.0.1"), a("::1"))
	tun := &caddytest.Tunnel{Permission: caddytest.Permitting(t, "10.0.0.0/8:80", "dns.internal:53"), Routes: map[string]string{"dns.internal:53": s.Addr().String()}}
	u := newSource(t, tun, `"type": "a", "name": "web.internal"`)
	for range 3 {
		u.want("", "ssh_tunnel+prod/10.0.0.1:80 ssh_tunnel+prod/10.0.0.2:80")
	}
	denied := u.log.FilterMessage("permit_open does not permit upstreams that were looked up").All()
	if len(denied) != 1 || denied[0].Level != zapcore.WarnLevel || denied[0].ContextMap()["permitted"] != int64(2) {
		t.Errorf("logged %v", denied)
	}
	// The transport answers this one with status 403. Caddy keeps what it knows about an
	// upstream for an hour, so there are no more of these than it takes.
	newSource(t, tun, `"type": "a", "name": "bad.internal"`).want("", "ssh_tunnel+prod/127.0.0.1:80")
}

// TestFailures: a request whose lookup fails has what a transport that is down gives it,
// and the log has one line.
func TestFailures(t *testing.T) {
	tun := new(caddytest.Tunnel)
	tun.Fail(&failure.DownError{Tunnel: "prod", Cause: errors.New("no route"), RetryAfter: 2500 * time.Millisecond})
	u := newSource(t, tun, `"type": "a", "name": "web.internal", "versions": ["ipv4"]`)
	for range 2 {
		r, repl := request(t, "")
		_, err := u.GetUpstreams(r)
		if _, ok := errors.AsType[*failure.DownError](err); !ok {
			t.Errorf("got %v", err)
		}
		if got := repl.ReplaceAll("{http.reverse_proxy.ssh_tunnel.name} {http.reverse_proxy.ssh_tunnel.retry_after}", "?"); got != "prod 3" {
			t.Errorf("the placeholders are %q", got)
		}
	}
	if got := u.log.FilterMessage("looking up upstreams failed").All(); len(got) != 1 || got[0].Level != zapcore.WarnLevel {
		t.Errorf("logged %v", got)
	}
	if n := len(tun.Dialed()); n != 1 {
		t.Errorf("%d dials within a second", n)
	}
}

// TestFailuresOfManyNames: clients that choose names that do not exist hide no failure
// of the DNS servers.
func TestFailuresOfManyNames(t *testing.T) {
	s := newServer(t)
	tun := &caddytest.Tunnel{Permission: caddytest.Permitting(t, "*:*"), Routes: map[string]string{"dns.internal:53": s.Addr().String()}}
	u := newSource(t, tun, `"type": "a", "name": "{http.request.host}.internal", "versions": ["ipv4"]`)
	for i := range 50 {
		if _, err := u.get(fmt.Sprint("no", i)); !errors.Is(err, errNoRecords) {
			t.Fatal(err)
		}
	}
	s.edit = rcodeIs(dnsmessage.RCodeServerFailure)
	if _, err := u.get("web"); err == nil {
		t.Fatal("no error")
	}
	var warnings []string
	for _, entry := range u.log.FilterLevelExact(zapcore.WarnLevel).All() {
		warnings = append(warnings, fmt.Sprint(entry.ContextMap()["name"]))
	}
	if want := []string{"no0.internal.", "web.internal."}; !slices.Equal(warnings, want) {
		t.Errorf("warnings are about %q, want %q", warnings, want)
	}
}

// TestReloads: a configuration finds the answers of the one before, if it would ask for
// the same in the same place.
func TestReloads(t *testing.T) {
	s := newServer(t)
	s.set("web.internal.", a("10.0.0.1"))
	tun := &caddytest.Tunnel{Routes: map[string]string{"dns.internal:53": s.Addr().String()}}
	const options = `"type": "a", "name": "web.internal", "versions": ["ipv4"]`
	for i, test := range []struct {
		options string
		lookups int
	}{
		{options, 1}, {options + `, "refresh": 3600000000000, "grace_period": 1000000000, "dial_timeout": 1000000000`, 0}, {options + `, "port": "81"`, 1}, {options, 0},
	} {
		if _, err := newSource(t, tun, test.options).get(""); err != nil {
			t.Fatal(err)
		}
		if got := s.took(); len(got) != test.lookups {
			t.Errorf("%d: asked for %q", i, got)
		}
	}
}

// TestChecks: what cannot work is refused when it is loaded, by name.
func TestChecks(t *testing.T) {
	permitting := &caddytest.Tunnel{Permission: caddytest.Permitting(t, "10.0.0.0/8:53", "*:80")}
	for config, want := range map[string]string{
		`{}`:                                                                   "no type of records",
		`{"type": "aaaa"}`:                                                     `type "aaaa" is neither a nor srv`,
		`{"type": "a"}`:                                                        "no name to look up",
		`{"type": "a", "name": "x y"}`:                                         `name "x y": not a domain name`,
		`{"type": "a", "name": "10.0.0.1"}`:                                    "write it as an upstream",
		`{"type": "a", "name": "x"}`:                                           "no resolvers; name the DNS servers",
		`{"type": "a", "name": "x", "port": "http"}`:                           `port "http" is not a number`,
		`{"type": "a", "name": "x", "service": "http"}`:                        `option "service" does not go together with a`,
		`{"type": "srv", "name": "x", "port": "80"}`:                           `option "port" does not go together with srv`,
		`{"type": "srv", "name": "x", "service": "http"}`:                      "service and proto go together",
		`{"type": "a", "name": "x", "versions": ["ipv5"]}`:                     `versions: "ipv5" is neither ipv4 nor ipv6`,
		`{"type": "a", "name": "x", "refresh": -1}`:                            "refresh: -1 is negative",
		`{"type": "a", "name": "x", "resolvers": ["udp/10.0.0.1"]}`:            "DNS goes over TCP",
		`{"type": "a", "name": "x", "resolvers": ["{env.X}"]}`:                 "placeholders are not allowed",
		`{"type": "a", "name": "x", "resolvers": ["10.0.0.1:0"]}`:              `port "0" is not one`,
		`{"type": "a", "name": "x", "resolvers": ["10.0.0.1", "192.0.2.1"]}`:   `resolvers: tunnel "prod": target "192.0.2.1:53" is not permitted by permit_open; add it there`,
		`{"type": "a", "name": "x", "resolvers": ["10.0.0.1", "10.0.0.2:53"]}`: "",
		`{"type": "a", "name": "{http.request.host}", "port": "{http.vars.port}", "resolvers": ["10.0.0.1"]}`: "",
	} {
		u := new(Upstreams)
		if err := json.Unmarshal([]byte(config), u); err != nil {
			t.Fatal(err)
		}
		_, err := u.check(permitting)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", config, err, want)
		}
	}
}

func TestParseResolver(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.0.53": "10.0.0.53:53", "10.0.0.53:5353": "10.0.0.53:5353", "fd00::53": "[fd00::53]:53", "[fd00::53]": "[fd00::53]:53",
		"[fd00::53]:5353": "[fd00::53]:5353", "dns.internal": "dns.internal:53", "localhost": "localhost:53", "tcp/10.0.0.53": "10.0.0.53:53",
	} {
		if got, err := ParseResolver(s); err != nil || got.Address != want || got.Network != "tcp" {
			t.Errorf("%s: got %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", ":53", "a b", "10.0.0.53:port", "unix//run/dns", "https://dns.example/dns-query"} {
		if got, err := ParseResolver(s); err == nil {
			t.Errorf("%q: got %+v", s, got)
		}
	}
}
