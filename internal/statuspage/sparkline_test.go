package statuspage

import (
	"math"
	"testing"
	"time"
)

func TestDraw(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	at := func(ago time.Duration, v float64) value { return value{now.Add(-ago), v} }
	for name, c := range map[string]struct {
		values []value
		scale  float64
		want   string
	}{
		"nothing": {},
		"a line": {
			[]value{at(20*time.Second, 0), at(10*time.Second, 5), at(0, 10)},
			10,
			"M293.3 39.0L296.7 20.5L300.0 2.0",
		},
		"level": {
			[]value{at(40*time.Second, 10), at(30*time.Second, 10), at(20*time.Second, 10), at(10*time.Second, 10), at(0, 5)},
			10,
			"M286.7 2.0L296.7 2.0L300.0 20.5",
		},
		"all zero": {[]value{at(10*time.Second, 0), at(0, 0)}, 0, "M296.7 39.0L300.0 39.0"},
		"a gap, and a dot": {
			[]value{at(40*time.Second, 10), at(30*time.Second, 10), at(20*time.Second, math.NaN()), at(10*time.Second, 10)},
			10,
			"M286.7 2.0L290.0 2.0M296.7 2.0h.1",
		},
		"the machine slept":  {[]value{at(70*time.Second, 10), at(10*time.Second, 10)}, 10, "M276.7 2.0h.1M296.7 2.0h.1"},
		"older than charts":  {[]value{at(time.Hour, 10), at(chartSpan, 10), at(chartSpan-10*time.Second, 10)}, 10, "M0.0 2.0L3.3 2.0"},
		"from the future":    {[]value{at(-time.Hour, 10)}, 10, ""},
		"more than fits (0)": {[]value{at(0, math.NaN())}, 10, ""},
	} {
		if got := draw(c.values, c.scale, now); got.Line != c.want {
			t.Errorf("%s: got %q, want %q", name, got.Line, c.want)
		}
	}
	if got := draw([]value{at(10*time.Second, 5), at(0, 10)}, 10, now).Area; got != "M296.7 40L296.7 20.5 300.0 2.0 300.0 40Z" {
		t.Errorf("area: got %q", got)
	}
}

// TestRate: bytes each second, unknown across a gap or when the count began again.
func TestRate(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	var samples []sample
	for _, s := range []struct {
		at    time.Duration
		bytes int64
	}{{0, 1000}, {10 * time.Second, 2000}, {20 * time.Second, 2000}, {30 * time.Second, 500}, {90 * time.Second, 600}, {100 * time.Second, 700}} {
		samples = append(samples, sample{at: now.Add(s.at), received: s.bytes})
	}
	nan := math.NaN()
	for i, got := range rate(samples, func(s sample) int64 { return s.received }) {
		want := []float64{100, 0, nan, nan, 10}[i]
		if got.v != want && !(math.IsNaN(got.v) && math.IsNaN(want)) || !got.at.Equal(samples[i+1].at) {
			t.Errorf("%d: got %v, want %v", i, got, want)
		}
	}
	if got := rate(samples[:1], func(s sample) int64 { return s.received }); len(got) != 0 {
		t.Errorf("of one sample: got %v", got)
	}
}

func TestDrawDown(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	var samples []sample
	for i, connected := range []bool{true, false, false, true, false} {
		samples = append(samples, sample{at: now.Add(time.Duration(i-4) * sampleInterval), connected: connected})
	}
	if got, want := drawDown(samples, now), "M286.7 0H293.3V40H286.7ZM296.7 0H300.0V40H296.7Z"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := drawDown(samples, now.Add(time.Hour)); got != "" {
		t.Errorf("an hour later: got %q", got)
	}
}
