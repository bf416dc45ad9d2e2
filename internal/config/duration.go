package config

import "github.com/caddyserver/caddy/v2"

// ParseDuration parses a duration above zero. Errors say how to write one.
func ParseDuration(s string) (caddy.Duration, error) { return positiveDuration(s) }
