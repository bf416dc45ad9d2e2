package caddytest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// Adapt turns a Caddyfile into JSON.
func Adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// Load does what `caddy validate` does with a configuration.
func Load(config []byte) error {
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		return err
	}
	return caddy.Validate(&cfg)
}

// NewContext returns a context of an empty configuration.
func NewContext(t *testing.T) (caddy.Context, context.CancelFunc) {
	t.Helper()
	ctx, err := caddy.ProvisionContext(new(caddy.Config))
	if err != nil {
		t.Fatal(err)
	}
	return caddy.NewContext(ctx)
}

// Fingerprint is a host_key that is well-formed and nobody's.
var Fingerprint = "SHA256:" + strings.Repeat("A", 43)

// SetHome gives the user who runs the test a home directory with a key and
// known hosts, and returns it.
func SetHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	key := sshtest.NewKey()
	for name, content := range map[string]string{
		"known_hosts": sshtest.KnownHostsLine("edge.example.com:22", key.PublicKey()) + "\n",
		"id_ed25519":  string(key.PEM("")),
	} {
		if err := os.WriteFile(filepath.Join(home, ".ssh", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("SSH_AUTH_SOCK", filepath.Join(home, "agent"))
	return home
}

// Main runs the tests of a package in a network of its own, and away from the home
// directory, the agent and the certificates of whoever runs them. It returns the exit
// status.
func Main(m *testing.M) int {
	sshtest.Isolate()
	home, err := os.MkdirTemp("", "ssh-tunnel-home")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	for name, value := range map[string]string{
		"HOME": home, "USERPROFILE": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home, "SSH_AUTH_SOCK": "",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	caddy.DefaultStorage.Path = filepath.Join(home, "caddy")
	return m.Run()
}
