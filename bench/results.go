package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// results.go is what runs have found out, as it stands in results.json. The
// tables and the plot are drawn from nothing else.

// history is results.json: the last run of each machine, the newest first.
type history struct {
	Machines []results `json:"machines"`
}

// results is a whole run.
type results struct {
	Environment environment `json:"environment"`
	Settings    settings    `json:"settings"`
	// Noise is that of each round. It is absent if it was not recorded.
	Noise     []noise          `json:"noise,omitempty"`
	Workloads []workloadResult `json:"workloads"`
	// NotMeasured are the ids of workloads that this machine lacks something
	// for, with what it is.
	NotMeasured []string `json:"not_measured,omitempty"`
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
	ID    string `json:"id"`
	Title string `json:"title"`
	// Ways are the variants in the order of the table, Names the titles of those
	// that have other ones here than usual.
	Ways    []variant          `json:"ways"`
	Names   map[variant]string `json:"names,omitempty"`
	Noise   []noise            `json:"noise,omitempty"` // of each round
	Metrics []metricResult     `json:"metrics"`
}

// metricResult is what came out of it for one metric. A value that is not known
// is absent.
type metricResult struct {
	metric
	Median map[variant]float64   `json:"median"`
	Rounds map[variant][]float64 `json:"rounds"`
	// Ratios are those of the tunnel to each other variant, taken in each round.
	Ratios map[variant]spread `json:"ratios,omitempty"`
}

// summarize makes the result of a workload of its samples, which are one a
// round and variant.
func summarize(w workload, rounds []map[variant]sample) workloadResult {
	out := workloadResult{ID: w.id, Title: w.title, Ways: w.ways(), Names: w.names}
	for _, m := range w.metrics {
		r := metricResult{metric: m, Median: make(map[variant]float64), Rounds: make(map[variant][]float64)}
		ratios := make(map[variant][]float64)
		for _, round := range rounds {
			for v, s := range round {
				value, ok := s[m.Key]
				if !ok {
					continue
				}
				r.Rounds[v] = append(r.Rounds[v], significant(value))
				if ours, ok := round[tunnel][m.Key]; ok && v != tunnel && value != 0 {
					ratios[v] = append(ratios[v], ours/value)
				}
			}
		}
		if len(r.Rounds) == 0 {
			continue
		}
		for v, values := range r.Rounds {
			r.Median[v] = significant(median(values))
		}
		for v, values := range ratios {
			if r.Ratios == nil {
				r.Ratios = make(map[variant]spread)
			}
			r.Ratios[v] = spreadOf(values)
		}
		out.Metrics = append(out.Metrics, r)
	}
	return out
}

// ratio returns the tunnel's ratio to another variant for a metric, if it is
// known.
func (w workloadResult) ratio(key string, v variant) (spread, bool) {
	m := w.metric(key)
	if m == nil {
		return spread{}, false
	}
	s, ok := m.Ratios[v]
	return s, ok
}

// workload returns the result for an id, or nil.
func (r results) workload(id string) *workloadResult {
	for i := range r.Workloads {
		if r.Workloads[i].ID == id {
			return &r.Workloads[i]
		}
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

// add puts a run in the place of the last one of the same machine, and before
// those of others. If that has measured the same version in the same manner, its
// other workloads stay.
func (h history) add(r results) history {
	for _, old := range h.Machines {
		if old.Environment.machine() != r.Environment.machine() || old.Environment.commit() != r.Environment.commit() || old.Settings != r.Settings {
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(old.Workloads), func(w workloadResult) bool { return r.workload(w.ID) != nil })
		r.Workloads, r.Noise = slices.Concat(kept, r.Workloads), slices.Concat(old.Noise, r.Noise)
	}
	others := slices.DeleteFunc(slices.Clone(h.Machines), func(old results) bool {
		return old.Environment.machine() == r.Environment.machine()
	})
	return history{Machines: append([]results{r}, others...)}
}

// fullest returns the run with the most workloads, the newest of several.
func (h history) fullest() (results, error) {
	if len(h.Machines) == 0 {
		return results{}, errors.New("there are no results; go run ./bench -update makes some")
	}
	return slices.MaxFunc(h.Machines, func(a, b results) int { return cmp.Compare(len(a.Workloads), len(b.Workloads)) }), nil
}

// readHistory reads what writeHistory has written. A file that is not there is
// an empty one.
func readHistory(path string) (history, error) {
	var h history
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(content, &h); err != nil {
		return h, fmt.Errorf("parsing %s: %w", path, err)
	}
	return h, nil
}

// writeHistory writes the runs as JSON.
func writeHistory(path string, h history) error {
	content, err := json.MarshalIndent(h, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644) //nolint:gosec // G306: it is for everybody
}
