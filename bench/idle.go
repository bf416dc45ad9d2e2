package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// idle.go is the workload of idle streams beside which ordinary clients go on.

// manyClients is how many of them, besides one alone.
const manyClients = 16

// idleStreams measures clients before and after that many streams were opened
// through the same Caddy, and the memory of these. The streams are left alone
// for the settling time in between.
func idleStreams(id string, kind streamKind, count int, settle time.Duration) workload {
	beside := func(n int) string { return clients(n) + " beside them" }
	list := []metric{}
	for _, n := range []int{manyClients, 1} {
		suffix := strconv.Itoa(n)
		list = append(list,
			metric{Key: "before_" + suffix, Title: clients(n) + " before", Unit: "/s"},
			metric{Key: "after_" + suffix, Title: beside(n), Unit: "/s", InTable: true, InPlot: n == manyClients},
			metric{Key: "kept_" + suffix, Title: beside(n) + ", of the rate before", InTable: true},
			metric{Key: "p99_" + suffix, Title: beside(n) + ", p99", Unit: "ms", LowerIsBetter: true},
		)
	}
	list = append(list,
		metric{Key: "open", Title: "opening", Unit: "/s"},
		metric{Key: "live", Title: "live memory of Caddy for each", Unit: "KiB", LowerIsBetter: true, InTable: true},
		metric{Key: "resident", Title: "resident memory of Caddy for each", Unit: "KiB", LowerIsBetter: true},
	)
	list = append(list, cpuMetrics("µs")...) // of a request of many clients beside them
	return workload{
		id:      id,
		group:   groupStreams,
		title:   number(float64(count)) + " idle " + kind.name,
		metrics: list,
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.startWay(ctx, v, nil)
			if err != nil {
				return nil, err
			}
			defer w.stop()
			out := make(sample)
			// What is new is slower at first: that would make the streams look
			// good.
			if err := s.loadBeside(ctx, w, make(sample), "to warm up"); err != nil {
				return nil, err
			}
			if err := s.loadBeside(ctx, w, out, "before"); err != nil {
				return nil, err
			}
			live, resident, err := w.memory(ctx)
			if err != nil {
				return nil, err
			}
			start := time.Now()
			streams, err := openStreams(ctx, kind, w.addr, count)
			defer closeStreams(streams)
			if err != nil {
				return nil, err
			}
			out["open"] = float64(count) / time.Since(start).Seconds()
			sleepUntil(ctx, time.Now().Add(settle))
			liveAfter, residentAfter, err := w.memory(ctx)
			if err != nil {
				return nil, err
			}
			out["live"] = (liveAfter - live) / float64(count) / 1024
			if resident > 0 {
				out["resident"] = (residentAfter - resident) / float64(count) / 1024
			}
			if err := s.loadBeside(ctx, w, out, "after"); err != nil {
				return nil, err
			}
			for _, n := range []string{strconv.Itoa(manyClients), "1"} {
				out["kept_"+n] = out["after_"+n] / out["before_"+n]
			}
			return out, checkStreams(ctx, kind, s.webAddr, streams)
		},
	}
}

// loadBeside measures many clients, and one.
func (s *stage) loadBeside(ctx context.Context, w *way, out sample, when string) error {
	for _, n := range []int{manyClients, 1} {
		before := w.usage()
		result, err := s.load(ctx, load{addr: w.addr, path: "/bytes/1024", length: 1024, clients: n, duration: s.options.duration})
		if err != nil {
			return fmt.Errorf("%s, %s: %w", clients(n), when, err)
		}
		out[when+"_"+strconv.Itoa(n)] = result.rate()
		// The last that is put in of these is the one after.
		out["p99_"+strconv.Itoa(n)] = milliseconds(result.p99)
		if n == manyClients {
			w.addUsage(out, before, float64(result.requests), time.Microsecond)
		}
	}
	return nil
}

// memory returns Caddy's live and resident memory. The latter is zero where
// /proc does not tell.
func (w *way) memory(ctx context.Context) (live, resident float64, err error) {
	if live, err = w.liveMemory(ctx); err != nil {
		return 0, 0, err
	}
	resident, _ = residentMemory(w.caddy.pid())
	return live, resident, nil
}
