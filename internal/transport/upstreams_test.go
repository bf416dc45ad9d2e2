package transport

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func TestCheckUpstream(t *testing.T) {
	anything := dialer.Permission{}
	for _, dial := range []string{"web:80", "10.0.0.1:80", "[::1]:80", ":8080", "tcp/web:80", "unix//run/web.sock"} {
		if err := checkUpstream(dial, anything); err != nil {
			t.Errorf("%q: %v", dial, err)
		}
	}
	for dial, want := range map[string]string{
		"{host}:80":     "needs permit_open on its tunnel",
		"web:{port}":    "needs permit_open",
		"unix/{path}":   "needs permit_open",
		"udp/web:80":    `network "udp" does not go through a tunnel`,
		"tcp4/web:80":   `network "tcp4" does not`,
		"fd/3":          `network "fd" does not`,
		"unix/run/sock": "not an absolute path",
		"web:80-81":     "a range of ports",
		"web":           "no port",
		"web:0":         "no port",
	} {
		if err := checkUpstream(dial, anything); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want %s", dial, err, want)
		}
	}
}

func TestCheckDynamicUpstreams(t *testing.T) {
	h := &reverseproxy.Handler{DynamicUpstreamsRaw: json.RawMessage(`{"source": "multi", "sources": [{"source": "a", "name": "{http.request.host}", "port": "80"}]}`)}
	if err := checkUpstreams(h, dialer.Permission{}); err == nil || !strings.Contains(err.Error(), `"{http.request.host}": an upstream with placeholders needs permit_open`) {
		t.Errorf("got error %v", err)
	}
	h.DynamicUpstreamsRaw = json.RawMessage(`{"source": "a", "name": "web.internal", "port": "80"}`)
	if err := checkUpstreams(h, dialer.Permission{}); err != nil {
		t.Error(err)
	}
}

// TestRenamedUpstreams goes from a configured upstream by way of what Caddy
// makes of its new name to the target that is dialed.
func TestRenamedUpstreams(t *testing.T) {
	for _, tt := range []struct {
		dial, renamed string
		want          tunnel.Target
	}{
		{"web:80", "ssh_tunnel+Prod/web:80", tunnel.Target{Network: "tcp", Address: "web:80"}},
		{"tcp/web:80", "ssh_tunnel+Prod/web:80", tunnel.Target{Network: "tcp", Address: "web:80"}},
		{"[::1]:80", "ssh_tunnel+Prod/[::1]:80", tunnel.Target{Network: "tcp", Address: "[::1]:80"}},
		{":80", "ssh_tunnel+Prod/:80", tunnel.Target{Network: "tcp", Address: "localhost:80"}},
		{"TCP/web:80", "ssh_tunnel+Prod/web:80", tunnel.Target{Network: "tcp", Address: "web:80"}},
		{"unix//run/a:b.sock", "unix+ssh_tunnel+Prod//run/a:b.sock", tunnel.Target{Network: "unix", Address: "/run/a:b.sock"}},
	} {
		h := &reverseproxy.Handler{Upstreams: reverseproxy.UpstreamPool{{Dial: tt.dial}}}
		renameUpstreams(h, "Prod")
		dial := h.Upstreams[0].Dial
		if dial != tt.renamed {
			t.Errorf("%q is renamed to %q, want %q", tt.dial, dial, tt.renamed)
		}
		addr, err := caddy.ParseNetworkAddress(dial)
		if err != nil {
			t.Error(err)
			continue
		}
		if addr.PortRangeSize() != 1 {
			t.Errorf("%q represents %d sockets", dial, addr.PortRangeSize())
		}
		// As the reverse proxy does.
		e := &dialRequest{upstream: &reverseproxy.DialInfo{Network: addr.Network, Address: addr.JoinHostPort(0), Host: addr.Host}}
		got, err := e.upstreamTarget(nil, dialer.Permission{})
		if err != nil || got != tt.want {
			t.Errorf("%q leads to %+v (%v), want %+v", dial, got, err, tt.want)
		}
	}
}

func TestDialRequestRefusesNetworks(t *testing.T) {
	for _, network := range []string{"udp", "fd", "unixgram", "ssh"} {
		e := &dialRequest{upstream: &reverseproxy.DialInfo{Network: network, Address: "web:80"}}
		if _, err := e.upstreamTarget(nil, dialer.Permission{}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("network %q does not go through a tunnel", network)) {
			t.Errorf("%s: got error %v", network, err)
		}
	}
}

// TestSourceHere: only Caddy's own sources look up from this machine.
func TestSourceHere(t *testing.T) {
	for source, want := range map[string]bool{
		`{"source": "a", "name": "web"}`:                          true,
		`{"source": "srv", "name": "web"}`:                        true,
		`{"source": "other"}`:                                     true,
		`{"source": "ssh_tunnel", "tunnel": "prod", "type": "a"}`: false,
		`{"source": "multi", "sources": [{"source": "ssh_tunnel"}, {"source": "ssh_tunnel"}]}`: false,
		`{"source": "multi", "sources": [{"source": "ssh_tunnel"}, {"source": "a"}]}`:          true,
	} {
		if got := isSourceHere(json.RawMessage(source)); got != want {
			t.Errorf("%s: got %t", source, got)
		}
	}
	for source, want := range map[string]string{
		`{"source": "ssh_tunnel", "type": "a", "name": "web"}`:      "",
		`{"source": "ssh_tunnel", "type": "a", "name": "{x}"}`:      "needs permit_open",
		`{"source": "multi", "sources": [{"source": "of others"}]}`: "is none of ssh_tunnel, a, srv and multi",
	} {
		err := checkSource(json.RawMessage(source))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", source, err, want)
		}
	}
}
