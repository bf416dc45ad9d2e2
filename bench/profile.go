package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// profile.go takes CPU profiles of Caddy while workloads run.

// profiled runs a measurement, and meanwhile takes a profile of the Caddy of
// the shared way to -profile, if that is given. A profile costs some speed.
func (s *stage) profiled(ctx context.Context, id string, v variant, measure func() (sample, error)) (sample, error) {
	w, ok := s.ways[wayKey{v, upstreamOf(id)}]
	if s.options.profile == "" || !ok {
		return measure()
	}
	seconds := max(1, int(s.options.duration/time.Second))
	done := make(chan error, 1)
	go func() { // returns when the profile is written
		profile, err := w.adminGet(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
		if err == nil {
			err = os.WriteFile(filepath.Join(s.options.profile, fmt.Sprintf("%s-%s.pprof", id, v)), []byte(profile), 0o600)
		}
		done <- err
	}()
	out, err := measure()
	if e := <-done; err == nil {
		err = e
	}
	return out, err
}
