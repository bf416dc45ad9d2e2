package config

import (
	"os"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// TestEveryOptionIsTested keeps options from being added without test data.
func TestEveryOptionIsTested(t *testing.T) {
	for name, opt := range TunnelOptions {
		if _, err := os.Stat("../../testdata/app_" + name + ".caddyfiletest"); err != nil {
			t.Error(err)
		}
		for within := range opt.Block {
			if _, err := os.Stat("../../testdata/app_" + name + "_" + within + ".caddyfiletest"); err != nil {
				t.Error(err)
			}
		}
	}
}

// FuzzCaddyfile checks that whatever is read without error can be loaded as
// JSON, and is then the same.
func FuzzCaddyfile(f *testing.F) {
	f.Add("ssh_tunnel {\n\ttunnel prod deploy@bastion.example.com\n}")
	f.Add("ssh_tunnel {\n\ttunnel prod {\n\t\thost a\n\t\tlazy no\n\t\tconnect_timeout 5s\n\t\trekey_limit 1GiB 1h\n\t}\n}")
	f.Add("ssh_tunnel {\n\ttunnel prod a {\n\t\tidentity_file none\n\t\thost_key a b\n\t\tciphers a,b c\n\t\tuser {\n\t\t}\n\t}\n}")
	f.Add("ssh_tunnel {\n\ttunnel prod a {\n\t\tlocal_forward 1 b:2 {\n\t\t\tidle_timeout 5s\n\t\t}\n\t\tdynamic_forward 3 {\n\t\t\tuser a b\n\t\t}\n\t}\n}")
	f.Add("ssh_tunnel {\n} }")
	f.Fuzz(func(t *testing.T, input string) {
		app := new(App)
		tokens, err := caddyfile.Tokenize([]byte(input), "Testfile")
		if err != nil {
			return
		}
		if err := app.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
			return
		}
		config := caddyconfig.JSON(app, nil)
		again := new(App)
		if err := caddy.StrictUnmarshalJSON(config, again); err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		if got := caddyconfig.JSON(again, nil); string(got) != string(config) {
			t.Fatalf("adapted %s\nloaded  %s", config, got)
		}
	})
}
