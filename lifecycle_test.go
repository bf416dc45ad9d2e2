package sshtunnel

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// bastionConfig returns a configuration with one tunnel to address.
func bastionConfig(t *testing.T, address string) []byte {
	t.Helper()
	config, err := json.Marshal(map[string]any{
		"admin": map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"apps": map[string]any{
			"http": map[string]any{"grace_period": "3s"},
			"ssh_tunnel": map[string]any{"tunnels": map[string]any{"prod": map[string]any{
				"hosts":     []string{"deploy@" + address},
				"password":  "x",
				"host_keys": []string{caddytest.Fingerprint},
			}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// listenLocally accepts connections, to close them at once, and tells of each. Its
// goroutine returns when the test ends.
func listenLocally(t *testing.T) (address string, accepted <-chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	accepts := make(chan struct{}, 1)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			select {
			case accepts <- struct{}{}:
			default:
			}
		}
	}()
	return ln.Addr().String(), accepts
}

// TestLoad loads a configuration whose bastion hangs up: that connects only
// once it has started, and in the background.
func TestLoad(t *testing.T) {
	address, accepted := listenLocally(t)
	config := bastionConfig(t, address)

	if err := caddytest.Load(config); err != nil {
		t.Fatal(err)
	}
	select {
	case <-accepted:
		t.Fatal("validating connected")
	case <-time.After(200 * time.Millisecond):
	}

	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-accepted:
	case <-time.After(sshtest.Patience):
		t.Fatal("starting did not connect")
	}

	ctx := caddy.ActiveContext()
	before, err := tunnelOf(ctx, "prod")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tunnelOf(ctx, "prdo"); err == nil || err.Error() != `unknown tunnel "prdo"; configured: prod` {
		t.Errorf("looking up an unknown tunnel: %v", err)
	}
	app, err := ctx.AppIfConfigured("ssh_tunnel")
	if err != nil {
		t.Fatal(err)
	}
	if got := app.(*App).gracePeriod(); got != 3*time.Second {
		t.Errorf("the grace period is %s", got)
	}

	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	after, err := tunnelOf(caddy.ActiveContext(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	if before == after || before.handle == after.handle {
		t.Error("two configurations share a tunnel's handle")
	}
	if before.handle.Key() != after.handle.Key() {
		t.Error("reloading what has not changed made another tunnel of it")
	}
}

// TestProvisionPartly cleans up an app whose second tunnel, or whose jump, is
// refused: what was opened by then is closed, and doing so again is no harm.
func TestProvisionPartly(t *testing.T) {
	t.Setenv("SSH_TUNNEL_TEST_PASSWORD", "x")
	good := func() *config.Tunnel {
		return &config.Tunnel{Hosts: []string{"deploy@127.0.0.1"}, Password: "{env.SSH_TUNNEL_TEST_PASSWORD}", HostKeys: []string{caddytest.Fingerprint}}
	}
	jumping := good()
	jumping.ProxyJump = "nowhere"
	for want, tunnels := range map[string]map[string]*config.Tunnel{
		``:                                     {"a": good(), "b": good()},
		`tunnel "b": host: none`:               {"a": good(), "b": {}},
		`tunnel "b": empty`:                    {"a": good(), "b": nil},
		`tunnel "b": proxy_jump: unknown tunn`: {"a": good(), "b": jumping},
		`tunnel name "" has no letter`:         {"": good()},
		`tunnel name ".." has no letter`:       {"..": good()},
		`tunnel name "a/b" has a '/'`:          {"a/b": good()},
	} {
		ctx, cancel := caddytest.NewContext(t)
		app := &App{App: config.App{Tunnels: tunnels}}
		err := app.Provision(ctx)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got error %v; want %q", err, want)
		}
		for range 2 {
			if err := app.Cleanup(); err != nil {
				t.Error(err)
			}
		}
		cancel()
	}
}

func TestLookupWithoutApp(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	_, err := tunnelOf(ctx, "prod")
	if err == nil || err.Error() != `unknown tunnel "prod"; no tunnel is configured: add the global option ssh_tunnel` {
		t.Errorf("got %v", err)
	}
}

// TestKeyMemory checks that tunnels, and the hosts on the way to them, have
// Caddy's storage where they need it.
func TestKeyMemory(t *testing.T) {
	caddytest.SetHome(t)
	file := sshtest.WriteFile(t, "config", []byte("Host a\nProxyJump b\nHost b\nProxyJump c\nHost a b\nStrictHostKeyChecking no\n"))
	adapted, err := caddytest.Adapt("{\nadmin off\npersist_config off\nssh_tunnel {\ntunnel prod {\nssh_config a " + filepath.ToSlash(file) + "\nlazy\n}\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Run(&cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	app, err := caddy.ActiveContext().App("ssh_tunnel")
	if err != nil {
		t.Fatal(err)
	}
	tun, err := app.(*App).tunnel("prod")
	if err != nil {
		t.Fatal(err)
	}
	if len(tun.Hops) != 2 {
		t.Fatalf("there are %d hops", len(tun.Hops))
	}
	for _, tun := range []*config.Resolved{tun.Resolved, tun.Hops[1]} {
		if keys, ok := tun.Settings.KeyMemory.(keystorage.Storage); !ok || keys.Storage == nil {
			t.Errorf("%s remembers with %v", tun.Config.Name, tun.Settings.KeyMemory)
		}
	}
	if memory := tun.Hops[0].Settings.KeyMemory; memory != nil {
		t.Errorf("%s remembers with %v", tun.Hops[0].Config.Name, memory)
	}
}
