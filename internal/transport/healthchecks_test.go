package transport

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestHealthChecksOfLazyTunnel: health checks that keep a tunnel from ever disconnecting
// are a warning.
func TestHealthChecksOfLazyTunnel(t *testing.T) {
	active := func(uri string, interval time.Duration) *reverseproxy.HealthChecks {
		return &reverseproxy.HealthChecks{Active: &reverseproxy.ActiveHealthChecks{URI: uri, Interval: caddy.Duration(interval)}}
	}
	for _, c := range []struct {
		name     string
		checks   *reverseproxy.HealthChecks
		lazy     time.Duration
		warnings int
	}{
		{"none", nil, time.Minute, 0},
		{"passive ones alone", new(reverseproxy.HealthChecks), time.Minute, 0},
		{"not enabled", active("", time.Second), time.Minute, 0},
		{"not lazy", active("/", time.Second), 0, 0},
		{"more frequent", active("/", time.Second), time.Minute, 1},
		{"as frequent", active("/", time.Minute), time.Minute, 1},
		{"by default", active("/", 0), time.Minute, 1},
		{"by default less frequent", active("/", 0), 29 * time.Second, 0},
		{"less frequent", active("/", 2*time.Minute), time.Minute, 0},
	} {
		core, logs := observer.New(zap.WarnLevel)
		warnOfHealthChecks(zap.New(core), &reverseproxy.Handler{HealthChecks: c.checks}, c.lazy, "prod")
		if logs.Len() != c.warnings {
			t.Errorf("%s: %d warnings", c.name, logs.Len())
		}
	}
}
