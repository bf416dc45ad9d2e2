package sshtunnel

import (
	"slices"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
)

// TestSSHConfigShared checks that tunnels share the hosts on the way, and that
// the next configuration does.
func TestSSHConfigShared(t *testing.T) {
	caddytest.SetHome(t)
	var keys [][]string // by configuration
	for range 2 {
		ctx, cancel := caddytest.NewContext(t)
		defer cancel()
		jump := func(alias string) *config.Tunnel {
			return &config.Tunnel{Lazy: true, SSHConfig: &config.SSHConfig{Alias: alias, File: "testdata/ssh_config/fleet"}}
		}
		app := &App{App: config.App{Tunnels: map[string]*config.Tunnel{"a": jump("inner"), "b": jump("middle")}}}
		if err := app.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := app.Cleanup(); err != nil {
				t.Error(err)
			}
		}()
		var names, got []string
		for _, t := range app.opened {
			names = append(names, t.Config.Name)
			got = append(got, t.handle.Key())
		}
		if want := []string{"ssh_config edge", "ssh_config middle", "a", "ssh_config edge", "b"}; !slices.Equal(names, want) {
			t.Fatalf("opened are %q, want %q", names, want)
		}
		if got[0] != got[3] {
			t.Error("two tunnels have connections of their own to the same jump host")
		}
		keys = append(keys, got)
	}
	if !slices.Equal(keys[0], keys[1]) {
		t.Error("the next configuration has other connections")
	}
}
