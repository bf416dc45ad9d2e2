package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// profile.go takes CPU profiles of Caddy while workloads run.

// profile takes a profile of a way's Caddy, from now on and for -duration, if
// -profile is given. What it returns waits for that, and writes it.
func (s *stage) profile(ctx context.Context, w *way) (finish func() error) {
	if s.options.profile == "" || w.caddy == nil {
		return func() error { return nil }
	}
	path := filepath.Join(s.options.profile, fmt.Sprintf("%s-%s.pprof", s.measuring, w.variant))
	seconds := max(1, int(s.options.duration/time.Second))
	done := make(chan error, 1)
	go func() { // returns when the profile is written
		profile, err := w.adminGet(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
		if err == nil {
			err = os.WriteFile(path, []byte(profile), 0o600)
		}
		done <- err
	}()
	return func() error { return <-done }
}
