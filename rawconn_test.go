package sshtunnel

import (
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/rawconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// TestCountFor: a count lasts as long as a listener or handler has it.
func TestCountFor(t *testing.T) {
	key := rawconn.Key{Network: "tcp", Address: "127.0.0.1:443", Tunnel: "prod", Target: tunnel.Target{Network: "tcp", Address: "web:80"}}
	before, releaseBefore := rawconn.CountFor(key)
	after, releaseAfter := rawconn.CountFor(key)
	if before != after {
		t.Error("the next configuration has another count")
	}
	releaseBefore()
	releaseBefore()
	if again, release := rawconn.CountFor(key); again != after {
		t.Error("a count that is in use is forgotten")
	} else {
		release()
	}
	releaseAfter()
	later, release := rawconn.CountFor(key)
	defer release()
	if later == after {
		t.Error("a count that nobody has is kept")
	}
	other := key
	other.Target.Address = "db:5432"
	if count, release := rawconn.CountFor(other); count == later {
		t.Error("another target has the same count")
	} else {
		release()
	}
}
