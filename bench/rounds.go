package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// rounds.go is the order in which things are measured.

// look watches the machine for a while before -update measures for long. It is
// an error if the machine is too noisy already.
func look(ctx context.Context) error {
	before, _ := readMachine()
	sleepUntil(ctx, time.Now().Add(lookTime))
	after, ok := readMachine()
	if n := after.since(before).noise(); ok && n.tooMuch() {
		return fmt.Errorf("-update needs a quiet machine, and before the start %v (limits: %s and %s)", n, percent(maxOthers), percent(maxSteal))
	}
	return nil
}

// missing names the workloads that this machine lacks something for.
func (s *stage) missing(list []workload) (missing []string) {
	for _, w := range list {
		if w.missing != nil && w.missing(s) != "" {
			missing = append(missing, w.id+", since "+w.missing(s))
		}
	}
	return missing
}

// measurement is a workload measured once each way.
type measurement struct {
	samples map[variant]sample
	time    machineTime
	known   bool // whether /proc tells the time
}

// measure runs the workloads in rounds: each round has each workload each way
// that the workload wants, one right after the other, and begins with another
// one.
func (s *stage) measure(ctx context.Context, list []workload) (results, error) {
	r := results{NotMeasured: s.missing(list)}
	able := slices.DeleteFunc(slices.Clone(list), func(w workload) bool { return w.missing != nil && w.missing(s) != "" })
	samples, noises := make([][]map[variant]sample, len(able)), make([][]noise, len(able))
	repeats := maxRepeats
	if s.options.quick {
		repeats = 0
	}
	for round := range s.options.rounds {
		var total machineTime
		known := true
		for i, w := range able {
			m, err := s.quietest(ctx, w, round, &repeats)
			if err != nil {
				return r, err
			}
			samples[i] = append(samples[i], m.samples)
			total, known = total.plus(m.time), known && m.known
			if m.known {
				noises[i] = append(noises[i], m.time.noise())
			}
		}
		if known {
			r.Noise = append(r.Noise, total.noise())
			fmt.Fprintf(os.Stderr, "round %d of %d: %v\n", round+1, s.options.rounds, total.noise())
		}
	}
	for i, w := range able {
		out := summarize(w, samples[i])
		out.Noise = noises[i]
		r.Workloads = append(r.Workloads, out)
	}
	return r, nil
}

// quietest measures a workload, and again if the machine was too noisy and
// repeats are left. It returns the measurement with less noise, whatever its
// figures are.
func (s *stage) quietest(ctx context.Context, w workload, round int, repeats *int) (measurement, error) {
	first, err := s.once(ctx, w, round)
	if err != nil || !first.known || !first.time.noise().tooMuch() || *repeats == 0 {
		return first, err
	}
	*repeats--
	fmt.Fprintf(os.Stderr, "again: %v\n", first.time.noise())
	second, err := s.once(ctx, w, round)
	if err != nil || second.time.noise().less(first.time.noise()) {
		return second, err
	}
	return first, nil
}

// once measures a workload each way.
func (s *stage) once(ctx context.Context, w workload, round int) (measurement, error) {
	m := measurement{samples: make(map[variant]sample)}
	before, _ := readMachine()
	ways := w.ways()
	for n := range ways {
		v := ways[(n+round)%len(ways)]
		fmt.Fprintf(os.Stderr, "round %d of %d: %s (%s), %s\n", round+1, s.options.rounds, w.title, w.id, v)
		s.measuring = w.id
		out, err := w.measure(ctx, s, v)
		if err != nil {
			return m, fmt.Errorf("%s, %s: %w", w.title, v, err)
		}
		m.samples[v] = out
	}
	var after machineTime
	after, m.known = readMachine()
	m.time = after.since(before)
	return m, nil
}
