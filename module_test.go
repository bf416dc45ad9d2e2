package sshtunnel

// module_test.go tests the app: Caddyfiles against what they adapt to, and the
// lifecycle.

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
)

func TestMain(m *testing.M) { os.Exit(caddytest.Main(m)) }

// TestCaddyfiles goes through testdata: a Caddyfile, a line of dashes, and
// either the JSON that it adapts to or a part of the error with which it is
// refused, be it when adapted or when loaded.
func TestCaddyfiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	t.Setenv("SSH_TUNNEL_TEST_PASSWORD", "x")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			caddyfile, want, ok := strings.Cut(string(data), "----------\n")
			if !ok {
				t.Fatal("no line of dashes")
			}
			want = strings.TrimSpace(want)

			got, err := caddytest.Adapt(caddyfile)
			if !strings.HasPrefix(want, "{") {
				if err == nil {
					err = caddytest.Load(got)
				}
				if err == nil {
					t.Fatalf("got no error, want %s", want)
				}
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error  %v\nwant       %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, got, "", "\t"); err != nil {
				t.Fatal(err)
			}
			if indented.String() != want {
				t.Errorf("got  %s\nwant %s", indented.String(), want)
			}
			checkStrict(t, got)
		})
	}
}

// checkStrict checks that the app's JSON says no more and no less than the app
// it is loaded into.
func checkStrict(t *testing.T, config []byte) {
	t.Helper()
	var cfg struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatal(err)
	}
	raw, ok := cfg.Apps["ssh_tunnel"]
	if !ok {
		return
	}
	app := new(App)
	if err := caddy.StrictUnmarshalJSON(raw, app); err != nil {
		t.Fatal(err)
	}
	if again := caddyconfig.JSON(app, nil); !bytes.Equal(again, raw) {
		t.Errorf("loaded  %s\nadapted %s", again, raw)
	}
}
