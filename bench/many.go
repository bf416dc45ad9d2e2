package main

import (
	"context"
	"fmt"
)

// many.go is the workloads of thousands of clients. They have ways of their
// own: what grows with clients shall not be there for other workloads.

// crowds are how many clients there are.
var crowds = []int{2000, 4000}

// manyClientsWorkloads returns one for each crowd; with -quick, a tenth of it.
func manyClientsWorkloads(o options) []workload {
	var list []workload
	for _, n := range crowds {
		if o.quick {
			n /= 10
		}
		l := load{path: "/bytes/1024", length: 1 << 10, clients: n}
		list = append(list, workload{
			id:      fmt.Sprintf("many-%d", n),
			group:   groupMany,
			title:   fmt.Sprintf("%s, %s clients", size(l.length), number(float64(n))),
			metrics: append(requestMetrics(), memoryMetric),
			measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
				w, err := s.startWay(ctx, v, nil)
				if err != nil {
					return nil, err
				}
				defer w.stop()
				if err := s.warm(ctx, w); err != nil {
					return nil, err
				}
				out, err := s.measureRequests(ctx, w, l)
				if err != nil {
					return nil, err
				}
				if resident, ok := residentMemory(w.caddy.pid()); ok {
					out[memoryMetric.Key] = resident / (1 << 20)
				}
				return out, nil
			},
		})
	}
	return list
}

// memoryMetric is what Caddy has taken of the machine's memory.
var memoryMetric = metric{Key: "resident", Title: "resident memory of Caddy", Unit: "MiB", LowerIsBetter: true}
