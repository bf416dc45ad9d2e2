package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// beside.go is the workloads of small requests beside bulk transfers through
// the same Caddy, and the same tunnel.

const (
	// besideClients ask for 1 KiB each.
	besideClients = 4
	// besideSettle is the most that the transfers get to fill the queues before
	// the first request that counts.
	besideSettle = time.Second
)

// besideMetrics are what measureBeside fills in.
func besideMetrics() []metric {
	return append([]metric{
		{Key: "p50", Title: "median", Unit: "ms", LowerIsBetter: true, InTable: true, InPlot: true},
		{Key: "p99", Title: "p99", Unit: "ms", LowerIsBetter: true, InTable: true},
		{Key: "rate", Title: "requests", Unit: "/s"},
		{Key: "bulk", Title: "the bulk", Unit: "MB/s", InTable: true},
	}, cpuMetrics("s/GB")...)
}

// beside is the workload on an unlimited link.
func beside(to direction, count int) workload {
	return workload{
		id:       fmt.Sprintf("beside-%s-%d", to, count),
		group:    groupBeside,
		title:    "1 KiB, " + clients(besideClients) + " beside " + transferCount(to, count),
		variants: withGCM,
		metrics:  besideMetrics(),
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.way(ctx, v)
			if err != nil {
				return nil, err
			}
			return s.measureBeside(ctx, w, to, count, s.options.duration)
		},
	}
}

// transferCount writes a number of transfers.
func transferCount(to direction, count int) string {
	if count == 1 {
		return "1 " + string(to) + "load"
	}
	return fmt.Sprintf("%d %sloads", count, to)
}

// measureBeside measures small requests through a way for that long, while so
// many transfers go on through it. The CPU time is that of both, for each
// gigabyte of the transfers.
func (s *stage) measureBeside(ctx context.Context, w *way, to direction, count int, duration time.Duration) (sample, error) {
	small := load{addr: w.addr, path: "/bytes/1024", length: 1 << 10, clients: besideClients, duration: duration}
	if err := checkPage(ctx, small); err != nil {
		return nil, err
	}
	t, err := startTransfers(ctx, w.addr, to, count)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	sleepUntil(ctx, time.Now().Add(min(besideSettle, duration)))
	bytesBefore, err := s.transferred(ctx, to, t)
	if err != nil {
		return nil, err
	}
	before, finish, start := w.usage(), s.profile(ctx, w), time.Now()
	load := s.load
	if w.relay != nil { // wrk forgets the requests that are unanswered when it ends
		load = runLoad
	}
	result, err := load(ctx, small)
	elapsed := time.Since(start)
	if err != nil {
		return nil, errors.Join(err, t.err(), finish())
	}
	out := sample{"p50": milliseconds(result.p50), "p99": milliseconds(result.p99), "rate": result.rate()}
	bytes, err := s.transferred(ctx, to, t)
	if err := errors.Join(err, t.err(), finish()); err != nil {
		return nil, err
	}
	moved := (bytes - bytesBefore) / 1e9
	w.addUsage(out, before, moved, time.Second)
	out["bulk"] = moved * 1e3 / elapsed.Seconds()
	if moved == 0 {
		return nil, fmt.Errorf("%s moved nothing for %v", transferCount(to, count), elapsed)
	}
	return out, nil
}

// transferred returns the bytes that have arrived so far: a client that uploads
// counts what is still in buffers on the way.
func (s *stage) transferred(ctx context.Context, to direction, t *transfers) (float64, error) {
	if to == up {
		return s.received(ctx)
	}
	return float64(t.total()), nil
}
