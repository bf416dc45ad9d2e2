package sshtunnel

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
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

// TestReadmeSSHConfig checks that the README has each keyword in its place.
func TestReadmeSSHConfig(t *testing.T) {
	section := readmeSection(t, "ssh_config")
	var taken, warnedOf []string
	for _, row := range tableRows(section) {
		for _, keyword := range codes(row[0]) {
			taken = append(taken, strings.ToLower(keyword))
		}
	}
	_, list, _ := strings.Cut(section, "\nNot taken")
	list, _, _ = strings.Cut(list, "\n")
	for _, keyword := range codes(list) {
		warnedOf = append(warnedOf, strings.ToLower(keyword))
	}
	wantTaken, wantWarned := sshconfig.Keywords()
	sameNames(t, "keywords of ssh_config that are taken", taken, wantTaken)
	sameNames(t, "keywords of ssh_config that are warned of", warnedOf, wantWarned)
}
