package upstreams

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// newResolver returns a resolver that finds servers at names.
func newResolver(tun *caddytest.Tunnel, servers ...string) *resolver {
	r := &resolver{dial: tun.Dial, dialTimeout: time.Second}
	for _, s := range servers {
		r.servers = append(r.servers, tunnel.Target{Network: "tcp", Address: s})
	}
	return r
}

// TestAnswers asks a server whose answers are not as they should be.
func TestAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		edit  func(m *dnsmessage.Message) []byte
		want  string // of the error; "" for an answer
		final bool
	}{
		"well":     {edit: nil},
		"no name":  {edit: rcodeIs(dnsmessage.RCodeNameError), want: `no records: the name "web.internal." does not exist`, final: true},
		"SERVFAIL": {edit: rcodeIs(dnsmessage.RCodeServerFailure), want: "it answers SERVFAIL"},
		"REFUSED":  {edit: rcodeIs(dnsmessage.RCodeRefused), want: "it answers REFUSED"},
		"RCODE 11": {edit: rcodeIs(11), want: "it answers response code 11"},
		"no records": {edit: func(m *dnsmessage.Message) []byte {
			m.Answers = nil
			return mustPack(m)
		}, want: `no records: the name "web.internal." has none of type A`, final: true},
		"records of another type": {edit: func(m *dnsmessage.Message) []byte {
			m.Answers[0].Header.Type, m.Answers[0].Body = dnsmessage.TypeAAAA, a("::1")
			return mustPack(m)
		}, want: "has none of type A", final: true},
		"no recursion": {edit: func(m *dnsmessage.Message) []byte {
			m.Answers, m.RecursionAvailable = nil, false
			return mustPack(m)
		}, want: "asks no other server (no recursion)"},
		"of the zone's own server": {edit: func(m *dnsmessage.Message) []byte {
			m.Authoritative, m.RecursionAvailable = true, false
			return mustPack(m)
		}},
		"another ID": {edit: func(m *dnsmessage.Message) []byte {
			m.ID++
			return mustPack(m)
		}, want: "the answer is to another question"},
		"another name": {edit: func(m *dnsmessage.Message) []byte {
			m.Questions[0].Name = dnsmessage.MustNewName("evil.internal.")
			return mustPack(m)
		}, want: "the answer is to another question"},
		"no answer but a query": {edit: func(m *dnsmessage.Message) []byte {
			m.Response = false
			return mustPack(m)
		}, want: "the answer is to another question"},
		"another spelling": {edit: func(m *dnsmessage.Message) []byte {
			m.Questions[0].Name = dnsmessage.MustNewName("WEB.Internal.")
			return mustPack(m)
		}},
		"behind an alias": {edit: func(m *dnsmessage.Message) []byte {
			alias := dnsmessage.Resource{Header: m.Answers[0].Header, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("other.internal.")}}
			alias.Header.Type = dnsmessage.TypeCNAME
			m.Answers[0].Header.Name = dnsmessage.MustNewName("other.internal.")
			m.Answers = append([]dnsmessage.Resource{alias}, m.Answers...)
			return mustPack(m)
		}},
		"cut off": {edit: func(m *dnsmessage.Message) []byte {
			packed := mustPack(m)
			return packed[:len(packed)-2]
		}, want: "answer: "},
		"empty": {edit: func(*dnsmessage.Message) []byte { return []byte{} }, want: "answer: "},
		"HTTP":  {edit: func(*dnsmessage.Message) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, want: "the answer is to another question"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.set("web.internal.", a("10.0.0.1"))
			s.edit = tt.edit
			records, err := newResolver(new(caddytest.Tunnel), s.Addr().String()).ask(t.Context(), "web.internal.", dnsmessage.TypeA)
			switch {
			case tt.want == "" && (err != nil || len(records) != 1):
				t.Errorf("got %v, %v", records, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, errNoRecords) != tt.final):
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func rcodeIs(code dnsmessage.RCode) func(*dnsmessage.Message) []byte {
	return func(m *dnsmessage.Message) []byte {
		m.RCode, m.Answers = code, nil
		return mustPack(m)
	}
}

func mustPack(m *dnsmessage.Message) []byte {
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

// TestServersInOrder: one server after the other is asked until one answers, if only
// that there is nothing.
func TestServersInOrder(t *testing.T) {
	first, second := newServer(t), newServer(t)
	second.set("web.internal.", a("10.0.0.1"))
	tun := &caddytest.Tunnel{Routes: map[string]string{
		"first:53": first.Addr().String(), "second:53": second.Addr().String(), "closed:53": "127.0.0.1:1",
	}}
	ask := func(servers ...string) string {
		t.Helper()
		_, err := newResolver(tun, servers...).ask(t.Context(), "web.internal.", dnsmessage.TypeA)
		if err == nil {
			return ""
		}
		return err.Error()
	}
	if got := ask("closed:53", "second:53"); got != "" {
		t.Error(got)
	}
	second.took()
	if got := ask("first:53", "second:53"); !strings.Contains(got, "does not exist") || len(second.took()) > 0 {
		t.Errorf("after a final answer: %s", got)
	}
	first.edit = rcodeIs(dnsmessage.RCodeServerFailure)
	if got := ask("first:53", "second:53"); got != "" {
		t.Error(got)
	}
	if got, want := ask("first:53", "closed:53"), `DNS server "first:53": it answers SERVFAIL; DNS server "closed:53": `; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s…", got, want)
	}
	if n := tun.OpenChannels.Load(); n != 0 {
		t.Errorf("%d channels are left", n)
	}

	// What is the tunnel's fault is no server's.
	dialed := len(tun.Dialed())
	tun.Fail(&failure.DownError{Tunnel: "prod", Cause: errors.New("no route"), RetryAfter: time.Second})
	if got := ask("first:53", "second:53"); got != `tunnel "prod" is down: no route` || len(tun.Dialed()) != dialed+1 {
		t.Errorf("got %s after %d dials", got, len(tun.Dialed())-dialed)
	}
}

// TestSilentServer: a request that leaves, and a configuration that ends, wait for no
// server.
func TestSilentServer(t *testing.T) {
	s := newServer(t)
	s.edit = func(*dnsmessage.Message) []byte { return nil }
	tun := new(caddytest.Tunnel)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := errors.New("the end")
	go func() { // returns when the query has come
		for len(s.took()) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(ended)
	}()
	if _, err := newResolver(tun, s.Addr().String(), "127.0.0.1:1").ask(ctx, "web.internal.", dnsmessage.TypeA); !errors.Is(err, ended) {
		t.Errorf("got %v", err)
	}
	if n := tun.OpenChannels.Load(); n != 0 {
		t.Errorf("%d channels are left", n)
	}
}

// FuzzParseAnswer: no answer makes more of a record than it is, or a panic.
func FuzzParseAnswer(f *testing.F) {
	query, err := newQuery("web.internal.", dnsmessage.TypeSRV)
	if err != nil {
		f.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(query[2:]); err != nil {
		f.Fatal(err)
	}
	m.Response, m.RecursionAvailable = true, true
	f.Add(mustPack(&m))
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET}, Body: srv("a.internal.", 80, 1, 1),
	}}
	f.Add(mustPack(&m))
	f.Fuzz(func(t *testing.T, answer []byte) {
		records, err := parseAnswer(answer, query)
		if (err == nil) != (len(records) > 0) {
			t.Errorf("%d records and %v", len(records), err)
		}
		for _, r := range records {
			if _, ok := r.Body.(*dnsmessage.SRVResource); !ok {
				t.Errorf("%v is no SRV record", r)
			}
		}
	})
}
