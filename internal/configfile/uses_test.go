package configfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestUses finds what a configuration dials through a tunnel and where it listens.
func TestUses(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	caddytest.SetHome(t)
	ssh := sshtest.WriteFile(t, "ssh_config", []byte("Host behind\nHostName behind.internal\nPort 2200\nUser u\n"))
	const known = `"host_keys": ["SHA256:uNiVztksCsDhcc0u9e8BrMXMMVIpYvRXb1ZVJgQxcvE"], "password": "x"`
	proxy := func(dial, handler, transport string) string {
		upstreams := `"upstreams": [{"dial": "` + strings.ReplaceAll(dial, " ", `"}, {"dial": "`) + `"}]`
		return `{"listen": [":80"], "routes": [{"handle": [{"handler": "reverse_proxy", ` + upstreams + handler + `, "transport": {"protocol": "ssh_tunnel", "tunnel": "prod"` + transport + `}}]}]}`
	}
	site := func(listen, host string) string {
		if host != "" {
			host = `{"match": [{"host": ["` + host + `"]}]}`
		}
		return `{"listen": ["` + listen + `"], "routes": [` + host + `]}`
	}
	for _, test := range []struct {
		options, more, server string
		want                  string
	}{
		{server: proxy("web:80", "", ""), want: "web:80"},
		{server: proxy("web:80 db:81", `, "health_checks": {"active": {"uri": "/", "port": 82}}`, ""), want: "web:80 web:82 db:81 db:82"},
		{server: proxy("web:80", `, "health_checks": {"active": {"upstream": "check:83"}}`, ""), want: "check:83 web:80"},
		{server: proxy("web:80", "", `, "network_proxy": {"from": "url", "url": "http://proxy:3128"}`), want: "proxy:3128"},
		{server: proxy("web:80", "", `, "network_proxy": {"from": "none"}`), want: "web:80"},
		{server: proxy("web:80", "", `, "forward_proxy_url": "socks5://proxy"`), want: "proxy:1080"},
		{server: proxy("web:80", "", `, "network_proxy": {"from": "url", "url": "{env.PROXY}"}`), want: "? a network_proxy that is not written out"},
		{server: proxy("web:80", `, "dynamic_upstreams": {"source": "a", "name": "web"}`, ""), want: "web:80 ? dynamic upstreams a:80"},
		{server: proxy("web:80", `, "dynamic_upstreams": {"source": "srv", "name": "web"}`, ""), want: "web:80 ? dynamic upstreams srv"},
		{server: proxy("web:80", `, "dynamic_upstreams": {"source": "ssh_tunnel", "tunnel": "prod", "type": "a", "name": "web", "resolvers": ["10.0.0.53"]}`, ""), want: "web:80 10.0.0.53:53 ? dynamic upstreams ssh_tunnel:80"},
		{server: proxy("web:80", `, "dynamic_upstreams": {"source": "multi", "sources": [{"source": "ssh_tunnel", "tunnel": "prod", "type": "srv", "name": "web", "resolvers": ["dns:54"]}]}`, ""), want: "web:80 dns:54 ? dynamic upstreams multi"},
		{options: `, "permit_open": ["*:80"]`, server: proxy("{http.vars.x}:80", "", ""), want: `? the upstream "{http.vars.x}:80"`},
		{server: `{"handle": [{"handler": "ssh_tunnel", "tunnel": "prod", "target": "mail:143"}]}`, want: "mail:143"},
		{options: `, "permit_open": ["*:443"]`, server: `{"handle": [{"handler": "ssh_tunnel", "tunnel": "prod", "target": "{l4.tls.server_name}:443"}]}`, want: `? the layer4 target "{l4.tls.server_name}:443"`},
		{options: `, "dynamic_forwards": [{"listen": "1080"}]`, want: "? clients of the dynamic_forward at 127.0.0.1:1080"},
		{options: `, "remote_forwards": [{"listen": "9000", "target": "localhost:1"}, {"listen": "*:9001", "target": "localhost:1"}]`, want: "< localhost:9000 < *:9001"},
		{server: site("ssh_tunnel/prod/10.0.0.1:8080-8081", ""), want: "< 10.0.0.1:8080 < 10.0.0.1:8081"},
		{server: site("ssh_tunnel/prod/*:443", "app.example.com"), want: "< *:443 < *:80"},
		{server: strings.Replace(site("ssh_tunnel/prod/*:443", "app.example.com"), "{", `{"automatic_https": {"disable_redirects": true}, `, 1), want: "< *:443"},
		{server: site("ssh_tunnel/prod:80", "app.example.com"), want: "< localhost:80"},
		{server: site("ssh_tunnel/prod/unix//run/s.sock", ""), want: "< unix//run/s.sock"},
		{more: `, "other": {"hosts": ["other:2222"], "user": "u", "proxy_jump": "prod", ` + known + `}`, want: "other:2222"},
		{more: `, "other": {"ssh_config": {"alias": "behind", "file": "` + ssh + `"}, "proxy_jump": "prod", ` + known + `}`, want: "behind.internal:2200"},
		{more: `, "other": {"hosts": ["other:2222"], "user": "", "proxy_jump": "prod", "host_keys": ["x"]}`, want: "other:2222"}, // it is not in order
	} {
		if test.server == "" {
			test.server = "{}"
		}
		file := sshtest.WriteFile(t, "caddy.json", fmt.Appendf(nil, `{"apps": {"http": {"servers": {"s": %s}}, "ssh_tunnel": {"tunnels": {"prod": {"hosts": ["b"], "user": "u", %s%s}%s}}}}`,
			test.server, known, test.options, test.more))
		config, err := Load(file, "")
		if err != nil {
			t.Fatal(err)
		}
		resolved, err := config.Resolve("prod")
		if err != nil {
			t.Fatal(err)
		}
		used := config.Uses(resolved)
		var got []string
		for _, w := range used.Targets {
			got = append(got, w.Address)
		}
		for _, u := range used.Unknown {
			text := "? " + u.By
			if u.Port != "" {
				text += ":" + u.Port
			}
			got = append(got, text)
		}
		for _, l := range used.Listens {
			got = append(got, "< "+l.String())
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s%s%s: got %q, want %q", test.options, test.more, test.server, strings.Join(got, " "), test.want)
		}
	}
}

// TestOnlyListens: a tunnel through which nothing is dialed need not be able to.
func TestOnlyListens(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	const tunnel = `"vps": {"hosts": ["127.0.0.1:1"], "host_keys": ["SHA256:uNiVztksCsDhcc0u9e8BrMXMMVIpYvRXb1ZVJgQxcvE"], "password": "x"`
	site := func(listen, handler string) string {
		return `, "http": {"servers": {"s": {"listen": [":80", "` + listen + `"], "routes": [{"handle": [` + handler + `]}]}}}`
	}
	proxy := `{"handler": "reverse_proxy", "transport": {"protocol": "ssh_tunnel", "tunnel": "vps"}, "upstreams": [{"dial": "{http.vars.x}"}]}`
	for _, test := range []struct {
		options, apps string
		want          bool
	}{
		{want: false},
		{options: `, "remote_forwards": [{"listen": "9000", "target": "localhost:3000"}]`, want: true},
		{options: `, "remote_forwards": [{"listen": "9000", "target": "localhost:3000"}], "dynamic_forwards": [{"listen": "1080"}]`, want: false},
		{apps: site("ssh_tunnel/vps/*:443", ""), want: true},
		{apps: site("ssh_tunnel/vps:8080", ""), want: true},
		{apps: site("ssh_tunnel/[vps/::]:8080", ""), want: true},
		{apps: site("ssh_tunnel/vps/unix//run/site.sock", ""), want: true},
		{apps: site("ssh_tunnel/other/*:443", ""), want: false},
		{apps: site("ssh_tunnel/vps/*:443", proxy), want: false},
	} {
		file := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(file, []byte(`{"apps": {"ssh_tunnel": {"tunnels": {`+tunnel+test.options+`}}}`+test.apps+`}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		config, err := Load(file, "")
		if err != nil {
			t.Fatal(err)
		}
		resolved, err := config.Resolve("vps")
		if err != nil {
			t.Fatal(err)
		}
		if got := config.Uses(resolved).OnlyListens(); got != test.want {
			t.Errorf("%s%s: got %t", test.options, test.apps, got)
		}
	}
}
