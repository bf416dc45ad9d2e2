package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// many.go is the workloads of thousands of clients. They have ways of their
// own: what grows with clients shall not be there for other workloads.

// crowds are how many clients there are.
var crowds = []int{2000, 4000}

// crowdPatience is how long one request may take: among thousands, one through
// `ssh -L` takes many seconds.
const crowdPatience = time.Minute

// manyClientsWorkloads returns one for each crowd; with -quick, a tenth of it.
func manyClientsWorkloads(o options) []workload {
	var list []workload
	for _, n := range crowds {
		if o.quick {
			n /= 10
		}
		list = append(list, workload{
			id:      fmt.Sprintf("many-%d", n),
			group:   groupMany,
			title:   fmt.Sprintf("%s, %s clients", size(1<<10), number(float64(n))),
			metrics: append(requestMetrics(), refusedFirstMetric, refusedMetric, memoryMetric),
			measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
				return s.measureCrowd(ctx, v, n)
			},
		})
	}
	return list
}

// measureCrowd measures that many clients. It has no use for wrk, which knows
// nothing of what takes longer than it runs.
func (s *stage) measureCrowd(ctx context.Context, v variant, clients int) (sample, error) {
	w, err := s.startWay(ctx, v, nil)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	l := load{addr: w.addr, path: "/bytes/1024", length: 1 << 10, clients: clients, duration: s.options.duration, timeout: crowdPatience, tolerant: true}
	first := l
	first.duration = min(rawWarm, l.duration)
	warm, err := runLoad(ctx, first)
	if err != nil {
		return nil, err
	}
	before, finish := w.usage(), s.profile(ctx, w)
	result, err := runLoad(ctx, l)
	if err := errors.Join(err, finish()); err != nil {
		return nil, err
	}
	if result.requests == 0 {
		return nil, fmt.Errorf("all %d requests were refused, and %d before", result.refused, warm.refused)
	}
	out := sample{"rate": result.rate(), "p50": milliseconds(result.p50), "p99": milliseconds(result.p99)}
	out[refusedFirstMetric.Key], out[refusedMetric.Key] = warm.refusedShare(), result.refusedShare()
	w.addUsage(out, before, float64(result.requests), time.Microsecond)
	if resident, ok := residentMemory(w.caddy.pid()); ok {
		out[memoryMetric.Key] = resident / (1 << 20)
	}
	return out, nil
}

// refusedFirstMetric and refusedMetric are the parts of requests that Caddy has
// answered with an error, such as a 504 after dial_timeout, or not within
// crowdPatience: of the first ones, which come all at once and find no connection to
// the server, and later.
var (
	refusedFirstMetric = metric{Key: "refused_first", Title: "refused at first", Unit: "%", LowerIsBetter: true, InTable: true}
	refusedMetric      = metric{Key: "refused", Title: "refused later", Unit: "%", LowerIsBetter: true, InTable: true}
)

// memoryMetric is what Caddy has taken of the machine's memory.
var memoryMetric = metric{Key: "resident", Title: "resident memory of Caddy", Unit: "MiB", LowerIsBetter: true, InTable: true}
