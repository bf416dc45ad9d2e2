package sshtunnel

// provision_test.go has other modules look tunnels up while the app is provisioned.

import (
	"context"
	"fmt"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func init() {
	caddy.RegisterModule(eventLookup{})
	caddy.RegisterModule(certificateLookup{})
}

// lookup looks the tunnel prod up as it is provisioned.
type lookup struct{}

func (lookup) Provision(ctx caddy.Context) error {
	_, err := LookupDialer(ctx, "prod")
	return err
}

// eventLookup is a module of the events app.
type eventLookup struct{ lookup }

func (eventLookup) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.lookup", New: func() caddy.Module { return new(eventLookup) }}
}

func (eventLookup) Handle(context.Context, caddy.Event) error { return nil }

// certificateLookup is a module of the tls app.
type certificateLookup struct{ lookup }

func (certificateLookup) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.certificates.lookup", New: func() caddy.Module { return new(certificateLookup) }}
}

func (certificateLookup) LoadCertificates() ([]caddytls.Certificate, error) { return nil, nil }

// TestLookupWhileProvisioned: the app itself provisions those of events and tls. Their
// modules find the tunnels, whichever app Caddy takes first.
func TestLookupWhileProvisioned(t *testing.T) {
	file := sshtest.WriteFile(t, "id", sshtest.NewKey().PEM(""))
	for name, app := range map[string]string{
		"events": `{"subscriptions": [{"events": ["ssh_tunnel_lost"], "handlers": [{"handler": "lookup"}]}]}`,
		"tls":    `{"certificates": {"lookup": {}}}`,
	} {
		config := fmt.Sprintf(`{"admin": {"disabled": true}, "logging": {"logs": {"default": {"writer": {"output": "discard"}}}}, "apps": {
			"ssh_tunnel": {"tunnels": {"prod": {"hosts": ["u@127.0.0.1"], "identity_files": [{"path": %q}], "host_keys": [%q]}}}, %q: %s, "http": {}}}`,
			file, caddytest.Fingerprint, name, app)
		for range 10 {
			var cfg caddy.Config
			if err := caddy.StrictUnmarshalJSON([]byte(config), &cfg); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&cfg); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}
