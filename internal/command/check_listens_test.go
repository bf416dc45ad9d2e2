package command

import (
	"os"
	"path/filepath"
	"testing"
)

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
		config, err := (&configFlags{file: file}).load()
		if err != nil {
			t.Fatal(err)
		}
		resolved, err := config.resolveOne(nil, "vps")
		if err != nil {
			t.Fatal(err)
		}
		if got := config.uses(resolved).OnlyListens(); got != test.want {
			t.Errorf("%s%s: got %t", test.options, test.apps, got)
		}
	}
}
