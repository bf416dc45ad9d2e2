package sshtunnel

// dialer_provision_test.go tests modules that look a tunnel up while Caddy provisions the
// app, or before.

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
)

func init() {
	caddy.RegisterModule(lookingUpEvents{})
	caddy.RegisterModule(lookingUpCertificates{})
	caddy.RegisterModule(lookingUpStorage{})
	caddy.RegisterModule(lookingUpLog{})
}

// lookingUp looks a tunnel up when it is provisioned.
type lookingUp struct{}

func (*lookingUp) Provision(ctx caddy.Context) error {
	d, err := LookupDialer(ctx, "prod")
	if err == nil {
		_, err = d.ForClients()
	}
	return err
}

// lookingUpEvents is a handler of events.
type lookingUpEvents struct{ lookingUp }

func (lookingUpEvents) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.looking_up", New: func() caddy.Module { return new(lookingUpEvents) }}
}

func (*lookingUpEvents) Handle(context.Context, caddy.Event) error { return nil }

// lookingUpCertificates is a source of certificates.
type lookingUpCertificates struct{ lookingUp }

func (lookingUpCertificates) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.certificates.looking_up", New: func() caddy.Module { return new(lookingUpCertificates) }}
}

func (*lookingUpCertificates) LoadCertificates() ([]caddytls.Certificate, error) { return nil, nil }

// lookingUpStorage is a storage.
type lookingUpStorage struct{ lookingUp }

func (lookingUpStorage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.looking_up", New: func() caddy.Module { return new(lookingUpStorage) }}
}

func (*lookingUpStorage) CertMagicStorage() (certmagic.Storage, error) { return nil, nil } //nolint:nilnil // it is not called

// lookingUpLog is where a log goes.
type lookingUpLog struct {
	lookingUp
	caddy.StdoutWriter
}

func (lookingUpLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.looking_up", New: func() caddy.Module { return new(lookingUpLog) }}
}

// TestLookupWhileProvisioning: a module may look a tunnel up, whichever app Caddy
// provisions first. Only storage and logs are there before all apps.
func TestLookupWhileProvisioning(t *testing.T) {
	tunnels := fmt.Sprintf(`"ssh_tunnel": {"tunnels": {"prod": {"hosts": ["edge.example.com"], "user": "u", "password": "x", "host_keys": [%q], "permit_open": ["*:80"]}}}`, caddytest.Fingerprint)
	for name, tt := range map[string]struct{ config, want string }{
		"events":  {`{"admin": {"disabled": true}, "apps": {` + tunnels + `, "events": {"subscriptions": [{"events": ["x"], "handlers": [{"handler": "looking_up"}]}]}}}`, ""},
		"tls":     {`{"admin": {"disabled": true}, "apps": {` + tunnels + `, "tls": {"certificates": {"looking_up": {}}}}}`, ""},
		"storage": {`{"admin": {"disabled": true}, "storage": {"module": "looking_up"}, "apps": {` + tunnels + `}}`, "storage and logs cannot go through a tunnel"},
		"log":     {`{"admin": {"disabled": true}, "logging": {"logs": {"x": {"writer": {"output": "looking_up"}}}}, "apps": {` + tunnels + `}}`, "storage and logs cannot go through a tunnel"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 16 { // the order of apps is random
				err := caddytest.Load([]byte(tt.config))
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("got %v, want %s", err, tt.want)
				}
			}
		})
	}
}
