package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseMachine(t *testing.T) {
	got, err := parseMachine("cpu  100 20 30 400 50 6 7 8 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
	want := machineTime{total: 6210 * time.Millisecond, running: 1500 * time.Millisecond, steal: 80 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7 x"} {
		if got, err := parseMachine(bad); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

func TestParsePressure(t *testing.T) {
	content := "some avg10=1.00 avg60=2.00 avg300=3.00 total=1500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"
	if got := parsePressure(content); got != 1500*time.Microsecond {
		t.Errorf("got %v", got)
	}
	if got := parsePressure(""); got != 0 {
		t.Errorf("nothing is %v", got)
	}
}

// TestSplitTime is that what we have forked is ours, also after its end, and that
// threads of the kernel are nobody's.
func TestSplitTime(t *testing.T) {
	own, others := splitTime([]stat{
		{pid: 1, cpu: 1},
		{pid: 2, kernel: true, cpu: 100},
		{pid: 9, parent: 2, kernel: true, cpu: 100},
		{pid: 10, parent: 1, cpu: 10},
		{pid: 11, parent: 10, cpu: 20},
		{pid: 12, parent: 11, zombie: true, cpu: 30},
		{pid: 20, parent: 1, cpu: 5},
	}, 10)
	if own != 60 || others != 6 {
		t.Errorf("own %d and others %d, want 60 and 6", own, others)
	}
}

// TestReadMachine is that we have a part in what the machine does.
func TestReadMachine(t *testing.T) {
	before, ok := readMachine()
	if !ok {
		t.Skip("there is no /proc here")
	}
	for deadline := time.Now().Add(time.Minute); ; {
		after, ok := readMachine()
		since := after.since(before)
		if ok && since.own >= 2*tick && since.total > since.own && since.elapsed > 0 {
			if n := since.noise(); n.Others < 0 || n.Others > 1 || n.Steal < 0 || n.Steal > 1 {
				t.Errorf("noise %+v", n)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the clocks moved by %+v", since)
		}
	}
}

func TestNoise(t *testing.T) {
	for name, test := range map[string]struct {
		moved machineTime
		want  noise
	}{
		"others that are visible":     {machineTime{total: 200, running: 100, own: 90, others: 20, elapsed: 100}, noise{Others: 0.1}},
		"others of another container": {machineTime{total: 200, running: 100, own: 60, others: 1, elapsed: 100}, noise{Others: 0.2}},
		"interrupts are in ours":      {machineTime{total: 200, running: 100, own: 110, elapsed: 100}, noise{}},
		"steal and pressure":          {machineTime{total: 200, steal: 5, waiting: 30, elapsed: 100}, noise{Steal: 0.025, Pressure: 0.3}},
		"nothing has moved":           {machineTime{}, noise{}},
	} {
		if got := test.moved.noise(); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
	a := machineTime{total: 10, running: 9, steal: 8, own: 7, others: 6, waiting: 5, elapsed: 4}
	if got := a.plus(a).since(a); got != a {
		t.Errorf("%+v and itself, without itself, is %+v", a, got)
	}
}

func TestTooMuch(t *testing.T) {
	for _, quiet := range []noise{{}, {Others: maxOthers, Steal: maxSteal, Pressure: 1}} {
		if quiet.tooMuch() {
			t.Errorf("%+v is too much", quiet)
		}
	}
	for _, loud := range []noise{{Others: maxOthers + 0.001}, {Steal: maxSteal + 0.001}} {
		if !loud.tooMuch() || loud.less(noise{Others: maxOthers / 2}) || !(noise{Others: maxOthers / 2}).less(loud) {
			t.Errorf("%+v is not too much, or quieter than less", loud)
		}
	}
}

// TestRefusal is what keeps a run from the results, each with its reason.
func TestRefusal(t *testing.T) {
	quiet, loud := noise{Others: 0.01}, noise{Others: 0.3, Steal: 0.1}
	for name, test := range map[string]struct {
		change func(*results)
		want   []string // nil if it may
	}{
		"a quiet run":       {func(*results) {}, nil},
		"noise unknown":     {func(r *results) { r.Noise = nil }, []string{"the noise is not known"}},
		"a noisy round":     {func(r *results) { r.Noise[1] = loud }, []string{"in round 2 other processes took 30 %", "the host 10 %"}},
		"a noisy workload":  {func(r *results) { r.Workloads[0].Noise = []noise{loud, quiet, loud} }, []string{"in 2 of 3 rounds of small-50"}},
		"one of its rounds": {func(r *results) { r.Workloads[0].Noise = []noise{loud, quiet, quiet} }, nil},
		"something missing": {func(r *results) { r.NotMeasured = []string{"nginx-1, since nginx is not installed"} }, []string{"not measured: nginx-1"}},
		"unsteady speed":    {func(r *results) { r.Workloads[0].metric("rate").Ratios[sshL] = spread{1, 0.4, 1.4} }, nil},
	} {
		r := example()
		test.change(&r)
		err := r.refusal()
		if test.want == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
}

// TestSwings is that what differs much between rounds is said to.
func TestSwings(t *testing.T) {
	r := example()
	r.Workloads[0].metric("rate").Ratios[sshL] = spread{1, 0.4, 1.4}
	r.Workloads[0].metric(cpuClient).Ratios[sshL] = spread{1, 0.6, 1.3}
	if got := caption(r); !strings.Contains(strings.ReplaceAll(got, "\n", " "), "these differ much: CPU time of small-50 is 0.60–1.30× `ssh -L`; speed of small-50 is 0.40–1.40× `ssh -L`.") {
		t.Errorf("got\n%s", got)
	}
}

func TestPercent(t *testing.T) {
	for share, want := range map[float64]string{0: "0 %", 0.0001: "under 0.1 %", 0.02: "2 %", 0.1234: "12.3 %", 1: "100 %"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %q, want %q", share, got, want)
		}
	}
}
