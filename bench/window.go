package main

import (
	"context"
	"fmt"
	"time"
)

// window.go are transfers over a long link whose speed the window of an SSH channel limits.

const (
	groupWindow = "window"
	// windowBandwidth is that of the link, in bytes a second: more than a window each
	// round trip.
	windowBandwidth = 1e9 / 8
)

// windowWorkloads are the group: they take root.
func windowWorkloads(o options) (list []workload) {
	for _, rtt := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond} {
		list = append(list, window(wanProfile{rtt: rtt, bandwidth: windowBandwidth}, o))
	}
	return list
}

// window is a download and an upload over such a link.
func window(profile wanProfile, o options) workload {
	length := int64(128 << 20)
	if o.quick {
		length = 4 << 20
	}
	return workload{
		id: fmt.Sprintf("window-%d", profile.rtt.Milliseconds()), group: groupWindow, isolated: true,
		title: fmt.Sprintf("a link of %v with 1 Gbit/s", profile.rtt),
		metrics: []metric{
			{Key: "down", Title: "a download", Unit: "MB/s", InTable: true},
			{Key: "up", Title: "an upload", Unit: "MB/s", InTable: true},
		},
		missing: func(*stage) string { return missingWAN() },
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.startWAN(v, profile)
			if err != nil {
				return nil, err
			}
			defer w.close()
			if _, err := w.cold(ctx); err != nil {
				return nil, err
			}
			return w.bulk(ctx, length)
		},
	}
}

// bulk measures one download and one upload.
func (r *wanRig) bulk(ctx context.Context, length int64) (sample, error) {
	out := sample{}
	for key, move := range map[string]func(context.Context, *way, int64) error{"down": download, "up": upload} {
		start := time.Now()
		if err := move(ctx, r.way, length); err != nil {
			return nil, err
		}
		out[key] = float64(length) / 1e6 / time.Since(start).Seconds()
	}
	return out, nil
}
