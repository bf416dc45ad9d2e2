package main

import (
	"fmt"
	"slices"
	"strings"
)

// headline.go sums up the runs of all machines: ratios of the tunnel, as ranges
// over the machines.

// maxSpread is how many times the smallest ratio in a round the largest may be. Beyond, the
// run says so. It depends on how the processors are shared.
const maxSpread = 2.0

// headline is a row of the summary.
type headline struct {
	workload string  // its id
	speed    string  // the key of the metric that stands for speed
	against  variant // the `ssh -L` of the comparison
	note     string  // what is to be known of the row, after the workload's title
	inReadme bool
}

// headlines are the rows. Where most of the time is spent on encryption, the
// comparison is with the `ssh -L` that has the same cipher.
var headlines = []headline{
	{workload: "small-1", speed: "rate", against: sshL},
	{workload: "small-50", speed: "rate", against: sshL, inReadme: true},
	{workload: "small-200", speed: "rate", against: sshL},
	{workload: "nginx-1", speed: "rate", against: sshL},
	{workload: "nginx-50", speed: "rate", against: sshL},
	{workload: "medium-20", speed: "rate", against: sshL},
	{workload: "new-connections", speed: "rate", against: sshL},
	{workload: "down", speed: "rate", against: sshLGCM, note: ", same cipher"},
	{workload: "nginx-down", speed: "rate", against: sshLGCM, note: ", same cipher", inReadme: true},
	{workload: "up", speed: "rate", against: sshLGCM, note: ", same cipher"},
	{workload: "websockets", speed: "after_16", against: sshL, note: ", 16 clients beside them", inReadme: true},
	{workload: "events", speed: "after_16", against: sshL, note: ", 16 clients beside them"},
	{workload: "slow-link", speed: "p50", against: sshL, note: ", median", inReadme: true},
	{workload: "beside-down-4", speed: "p50", against: sshL, note: ", median"},
	{workload: "raw-50", speed: "rate", against: sshL},
	{workload: "raw-down", speed: "rate", against: sshLGCM, note: ", same cipher"},
	{workload: "bind-50", speed: "rate", against: sshR, note: ", against `ssh -R`"},
	{workload: "bind-down", speed: "rate", against: sshR, note: ", against `ssh -R`"},
}

// speedRatio returns how many times as fast the tunnel was. For a time, that is
// the inverse of its ratio.
func (w workloadResult) speedRatio(key string, v variant) (spread, bool) {
	s, ok := w.ratio(key, v)
	if ok && w.metric(key).LowerIsBetter {
		s = spread{Median: 1 / s.Median, Low: 1 / s.High, High: 1 / s.Low}
	}
	return s, ok
}

// ratios returns a headline's four ratios in a run: of CPU time and of speed,
// against `ssh -L` and against no tunnel. Those that are not known are nil.
func (h headline) ratios(r results) (ratios [4]*spread) {
	w := r.workload(h.workload)
	if w == nil {
		return ratios
	}
	for i, v := range []variant{h.against, direct} {
		if s, ok := w.ratio(cpuClient, v); ok {
			ratios[i] = &s
		}
		if s, ok := w.speedRatio(h.speed, v); ok {
			ratios[2+i] = &s //nolint:gosec // G602: there are two variants
		}
	}
	return ratios
}

// headlineTable is the summary of all machines, or the part of it that the
// README has.
func headlineTable(h history, readme bool) string {
	rows := [][]string{{
		"workload", "CPU against `ssh -L`", "CPU against no tunnel", "speed against `ssh -L`", "speed against no tunnel",
	}}
	for _, line := range headlines {
		title := h.title(line.workload)
		if title == "" || readme && !line.inReadme {
			continue
		}
		row := []string{fmt.Sprintf("%s%s (`%s`)", title, line.note, line.workload)}
		var over [4]span
		for _, r := range h.Machines {
			for i, s := range line.ratios(r) {
				if s != nil {
					over[i].add(s.Median)
				}
			}
		}
		for _, s := range over {
			row = append(row, s.String())
		}
		rows = append(rows, row)
	}
	return alignRows(rows, 1)
}

// title returns that of a workload, as the newest run that has it puts it;
// empty if none does.
func (h history) title(id string) string {
	for _, r := range h.Machines {
		if w := r.workload(id); w != nil {
			return w.Title
		}
	}
	return ""
}

// span is from the smallest to the largest of some values.
type span struct {
	low, high float64
	known     bool
}

func (s *span) add(x float64) {
	if !s.known {
		*s = span{x, x, true}
		return
	}
	s.low, s.high = min(s.low, x), max(s.high, x)
}

// String is "0.97×", "0.97–1.20×", or "–" for no values.
func (s span) String() string {
	low, high := number(s.low), number(s.high)
	switch {
	case !s.known:
		return "–"
	case low == high:
		return low + "×"
	}
	return low + "–" + high + "×"
}

// machineList names the machines of the summary, one a line.
func machineList(h history) string {
	var list strings.Builder
	for _, r := range h.Machines {
		list.WriteString(hang(fmt.Sprintf("- %s. %s", r.Environment, r.noiseReport())))
	}
	return list.String()
}

// hang wraps an item of a list.
func hang(text string) string {
	return strings.ReplaceAll(wrap(text, 98), "\n", "\n  ") + "\n"
}

// swings names the ratios against `ssh -L` that differ much from round to round.
func (r results) swings() (list []string) {
	for _, h := range headlines {
		ratios := h.ratios(r)
		for i, what := range map[int]string{0: "CPU time", 2: "speed"} {
			if s := ratios[i]; s != nil && s.factor() > maxSpread {
				list = append(list, fmt.Sprintf("%s of %s is %s× `ssh -L`", what, h.workload, s))
			}
		}
	}
	slices.Sort(list)
	return list
}
