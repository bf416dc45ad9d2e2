package transport

// transport_test.go tests the transport by itself, as do the transport_*_test.go
// beside it, over loopback sockets instead of channels. caddy_test.go has it
// in Caddy.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// request returns a request as the reverse proxy makes it.
func request(t *testing.T, method, address string, vars map[string]any) *http.Request {
	t.Helper()
	ctx := context.WithValue(t.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	if vars != nil {
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, vars)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// get makes a request and returns the response's body.
func get(t *testing.T, tr *Transport, req *http.Request) string {
	t.Helper()
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s: %v", req.URL, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s: reading: %v", req.URL, err)
	}
	return string(body)
}

func headersOf(t *testing.T, tr *Transport, req *http.Request) sshtest.Headers {
	t.Helper()
	body := get(t, tr, req)
	var h sshtest.Headers
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestTransportRefusesOptions(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{`{"resolver": {"addresses": ["127.0.0.1"]}}`, `option "resolvers" ("resolver" in JSON) does not work through a tunnel`},
		{`{"local_address": "127.0.0.1"}`, `option "local_address" does not`},
		{`{"dial_fallback_delay": -1}`, `option "dial_fallback_delay" does not`},
		{`{"keep_alive": {"probe_interval": 1}}`, `option "keepalive_interval" ("keep_alive.probe_interval" in JSON) does not`},
		{`{"versions": ["3"]}`, `option "versions 3" ("versions" in JSON) does not`},
		{`{"versions": ["1.1", "3"]}`, `option "versions 3"`},
		{`{"proxy_protocol": "v3"}`, `unknown proxy_protocol "v3"; use v1 or v2`},
	} {
		_, err := tryTransport(t, new(caddytest.Tunnel), tt.config)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got error %v, want %s", tt.config, err, tt.want)
		}
	}
}

func TestTransportChannelClass(t *testing.T) {
	tun := &caddytest.Tunnel{Err: errors.New("no")}
	tr := newTransport(t, tun, "")
	upgrade := request(t, "GET", "http://web/", nil)
	upgrade.Header.Set("Connection", "Upgrade")
	upgrade.Header.Set("Upgrade", "websocket")
	for _, req := range []*http.Request{request(t, "GET", "http://web/", nil), upgrade} {
		if res, err := tr.RoundTrip(req); err == nil {
			res.Body.Close()
			t.Error("no error")
		}
	}
	want := []tunnel.Target{
		{Network: "tcp", Address: "web:80", Class: tunnel.Request},
		{Network: "tcp", Address: "web:80", Class: tunnel.Stream},
	}
	if got := tun.Dialed(); !slices.Equal(got, want) {
		t.Errorf("dialed %+v, want %+v", got, want)
	}
}

// TestTransportJSON: the JSON of a transport is what it was given.
func TestTransportJSON(t *testing.T) {
	config := []byte(`{"tunnel":"prod","tls":{"server_name":"a"},"dial_timeout":1000000000,"versions":["1.1"]}`)
	tr := Transport{}.CaddyModule().New().(*Transport)
	if err := caddy.StrictUnmarshalJSON(config, tr); err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(tr); err != nil || !bytes.Equal(got, config) {
		t.Errorf("got %s (%v)", got, err)
	}
	if err := caddy.StrictUnmarshalJSON([]byte(`{"tunnel":"prod","tunel":"x"}`), tr); err == nil {
		t.Error("an unknown field is accepted")
	}
}
