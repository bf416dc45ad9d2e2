package sshtunnel

import (
	"errors"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/permit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// TestHandlePermits: what is not permitted is not waited for either, though
// there is no bastion.
func TestHandlePermits(t *testing.T) {
	permission, err := dialer.NewPermission("prod", []string{"web:80"})
	if err != nil {
		t.Fatal(err)
	}
	d := dialer.New(nil, permission)
	_, err = d.Dial(t.Context(), tunnel.Target{Network: "tcp", Address: "db:5432"})
	if denied, ok := errors.AsType[*permit.DeniedError](err); !ok || denied.Target != "db:5432" || denied.Tunnel != "prod" {
		t.Errorf("got error %v", err)
	}
	want := tunnel.Target{Network: "tcp", Address: "web:80", Class: tunnel.Stream}
	if got, err := d.Permit(tunnel.Target{Network: "tcp", Address: "WEB.:80", Class: tunnel.Stream}); err != nil || got != want {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
}
