package main

import (
	"fmt"
	"strings"
	"time"
)

// noise.go tells how much of the machine others had while something was
// measured.

// What is too noisy. They bound shares of the machine's CPU time.
const (
	// maxOthers bounds what processes of others take.
	maxOthers = 0.05
	// maxSteal bounds what the machine's own host takes from it.
	maxSteal = 0.02
	// maxRepeats is how many measurements a run repeats because they were noisy.
	// On a machine that is always noisy it is no use to repeat more.
	maxRepeats = 10
	// lookTime is how long -update looks at the machine before it measures.
	lookTime = 2 * time.Second
)

// machineTime is what the clocks of a machine show, or by how much they have
// moved. Times are summed up over the processors, except for elapsed and
// waiting.
type machineTime struct {
	total   time.Duration // of the processors, idle or not
	running time.Duration // processes, in user space and in system calls
	steal   time.Duration // the host ran something else
	own     time.Duration // this process and all that it has started
	others  time.Duration // the other processes that /proc shows
	waiting time.Duration // at least one process waited for a processor
	elapsed time.Duration
}

// since returns by how much the clocks have moved.
func (t machineTime) since(before machineTime) machineTime {
	return machineTime{
		total: t.total - before.total, running: t.running - before.running, steal: t.steal - before.steal,
		own: t.own - before.own, others: t.others - before.others,
		waiting: t.waiting - before.waiting, elapsed: t.elapsed - before.elapsed,
	}
}

// plus returns the sum.
func (t machineTime) plus(more machineTime) machineTime {
	return machineTime{
		total: t.total + more.total, running: t.running + more.running, steal: t.steal + more.steal,
		own: t.own + more.own, others: t.others + more.others,
		waiting: t.waiting + more.waiting, elapsed: t.elapsed + more.elapsed,
	}
}

// noise is what others did to a measurement, as shares of the CPU time of the
// machine from 0 to 1. Pressure is the share of time in which a process waited
// for a processor; the benchmark's own do too, so it is there to be read, and
// bounds nothing.
type noise struct {
	Others   float64 `json:"others"`
	Steal    float64 `json:"steal"`
	Pressure float64 `json:"pressure"`
}

// noise returns the noise while the clocks moved so far. What others took is
// the larger of two figures: the time of the other processes that are visible,
// and what all processes took beyond our own. The latter has those of other
// containers too. It lacks interrupts, since some kernels count those as the
// time of whoever was interrupted, and some do not.
func (t machineTime) noise() noise {
	if t.total <= 0 || t.elapsed <= 0 {
		return noise{}
	}
	share := func(part, whole time.Duration) float64 {
		return significant(min(max(float64(part)/float64(whole), 0), 1))
	}
	return noise{
		Others:   share(max(t.others, t.running-t.own), t.total),
		Steal:    share(t.steal, t.total),
		Pressure: share(t.waiting, t.elapsed),
	}
}

// tooMuch says whether a measurement with this noise says little.
func (n noise) tooMuch() bool { return n.Others > maxOthers || n.Steal > maxSteal }

// less says whether it was quieter than in another measurement.
func (n noise) less(than noise) bool {
	return max(n.Others/maxOthers, n.Steal/maxSteal) < max(than.Others/maxOthers, than.Steal/maxSteal)
}

func (n noise) String() string {
	return fmt.Sprintf("other processes took %s of the CPU time, the host %s", percent(n.Others), percent(n.Steal))
}

// percent writes a share.
func percent(share float64) string {
	if share > 0 && share < 0.001 {
		return "under 0.1 %"
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", 100*share), ".0") + " %"
}

// worst returns the noisiest.
func worst(list []noise) noise {
	var out noise
	for _, n := range list {
		if out.less(n) {
			out = n
		}
	}
	return out
}

// complaints says why a run was too noisy, if it was: a whole round was, or
// half of the rounds of one workload.
func (r results) complaints() (list []string) {
	if len(r.Noise) == 0 {
		return []string{"the noise is not known; it takes a /proc/stat"}
	}
	for i, n := range r.Noise {
		if n.tooMuch() {
			list = append(list, fmt.Sprintf("in round %d %v", i+1, n))
		}
	}
	if list != nil {
		return list // it is clear enough then which workloads were
	}
	for _, w := range r.Workloads {
		noisy := 0
		for _, n := range w.Noise {
			if n.tooMuch() {
				noisy++
			}
		}
		if noisy > 0 && 2*noisy >= len(w.Noise) {
			list = append(list, fmt.Sprintf("in %d of %d rounds of %s, in the noisiest %v", noisy, len(w.Noise), w.ID, worst(w.Noise)))
		}
	}
	return list
}

// noiseReport says in a sentence how noisy a run was.
func (r results) noiseReport() string {
	if len(r.Noise) == 0 {
		return "The noise was not recorded."
	}
	var all []noise
	for _, w := range r.Workloads {
		all = append(all, w.Noise...)
	}
	round, single := worst(r.Noise), worst(all)
	return fmt.Sprintf("Other processes took %s of the CPU time in the noisiest round, and %s in the noisiest measurement. The host took %s and %s.",
		percent(round.Others), percent(single.Others), percent(round.Steal), percent(single.Steal))
}

// refusal returns why a run may not go into the results, or nil. It may if
// everything was measured, and the machine was quiet.
func (r results) refusal() error {
	var reasons []string
	for _, missing := range r.NotMeasured {
		reasons = append(reasons, "not measured: "+missing)
	}
	for _, complaint := range r.complaints() {
		reasons = append(reasons, "too noisy: "+complaint)
	}
	if reasons == nil {
		return nil
	}
	return fmt.Errorf("-update writes nothing:\n  %s", strings.Join(reasons, "\n  "))
}
