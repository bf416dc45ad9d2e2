package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
)

// results.go is what a run has found out, as it stands in results.json. The
// table and the plot are drawn from nothing else.

// results is a whole run.
type results struct {
	Environment environment      `json:"environment"`
	Settings    settings         `json:"settings"`
	Workloads   []workloadResult `json:"workloads"`
}

// settings is how it was measured.
type settings struct {
	Rounds        int     `json:"rounds"`
	Seconds       float64 `json:"seconds"` // of one measurement of a rate
	LoadGenerator string  `json:"load_generator"`
	Streams       int     `json:"streams"`
}

// workloadResult is what came out of one workload.
type workloadResult struct {
	ID      string         `json:"id"`
	Title   string         `json:"title"`
	Metrics []metricResult `json:"metrics"`
}

// metricResult is what came out of it for one metric. Ratios are those of the
// tunnel, taken in each round; what stands here is their median. A value that
// is not known is absent.
type metricResult struct {
	metric
	Median   map[variant]float64   `json:"median"`
	ToSSH    *float64              `json:"tunnel_to_ssh,omitempty"`
	ToDirect *float64              `json:"tunnel_to_direct,omitempty"`
	Rounds   map[variant][]float64 `json:"rounds"`
}

// summarize makes the result of a workload of its samples, which are one a
// round and variant.
func summarize(w workload, rounds []map[variant]sample) workloadResult {
	out := workloadResult{ID: w.id, Title: w.title}
	for _, m := range w.metrics {
		r := metricResult{metric: m, Median: make(map[variant]float64), Rounds: make(map[variant][]float64)}
		var toSSH, toDirect []float64
		for _, round := range rounds {
			for v, s := range round {
				if value, ok := s[m.Key]; ok {
					r.Rounds[v] = append(r.Rounds[v], significant(value))
				}
			}
			toSSH = appendRatio(toSSH, round, m.Key, sshL)
			toDirect = appendRatio(toDirect, round, m.Key, direct)
		}
		if len(r.Rounds) == 0 {
			continue
		}
		for v, values := range r.Rounds {
			r.Median[v] = significant(median(values))
		}
		r.ToSSH, r.ToDirect = medianRatio(toSSH), medianRatio(toDirect)
		out.Metrics = append(out.Metrics, r)
	}
	return out
}

// appendRatio appends a round's ratio of the tunnel to another variant, if both
// are known.
func appendRatio(to []float64, round map[variant]sample, key string, other variant) []float64 {
	a, okA := round[tunnel][key]
	b, okB := round[other][key]
	if !okA || !okB || b == 0 {
		return to
	}
	return append(to, a/b)
}

func medianRatio(ratios []float64) *float64 {
	if m := significant(median(ratios)); !math.IsNaN(m) {
		return &m
	}
	return nil
}

// metric returns the result for a key, or nil.
func (w workloadResult) metric(key string) *metricResult {
	for i := range w.Metrics {
		if w.Metrics[i].Key == key {
			return &w.Metrics[i]
		}
	}
	return nil
}

// readResults reads what writeResults has written.
func readResults(path string) (results, error) {
	var r results
	content, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, fmt.Errorf("parsing %s: %w", path, err)
	}
	return r, nil
}

// writeResults writes the results as JSON.
func writeResults(path string, r results) error {
	content, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644) //nolint:gosec // G306: it is for everybody
}
