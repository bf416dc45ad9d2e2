package sshtunnel

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// registerMetrics adds the metrics of all tunnels to those of the configuration
// that ctx belongs to, wherever that serves them. Each configuration has a
// registry of its own, and what is counted is the process's: no reload loses or
// doubles it. Both the app and the admin API register them, for after a reload
// that has failed the admin API is that of the failed configuration, whose app
// may not have got so far.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil // no context of a configuration's
	}
	err := registry.Register(tunnel.Metrics)
	if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); err == nil || again {
		return nil
	}
	return fmt.Errorf("registering metrics: %w", err)
}
