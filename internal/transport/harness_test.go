package transport

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
)

// newTransport provisions a transport, given as JSON, on a tunnel.
func newTransport(t *testing.T, tun dialer.Dialer, config string) *Transport {
	t.Helper()
	tr, err := tryTransport(t, tun, config)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func tryTransport(t *testing.T, tun dialer.Dialer, config string) (*Transport, error) {
	t.Helper()
	tr := Transport{}.CaddyModule().New().(*Transport)
	if config != "" {
		if err := json.Unmarshal([]byte(config), tr); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	t.Cleanup(func() {
		for range 2 { // it is idempotent
			if err := tr.Cleanup(); err != nil {
				t.Error(err)
			}
		}
	})
	return tr, tr.provision(ctx, tun, nil)
}
