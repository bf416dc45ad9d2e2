package statuspage

// sparkline.go draws what was sampled.

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// The size of a sparkline, in units of its viewBox. The page stretches it.
const (
	sparkWidth  = 300.0
	sparkHeight = 40.0
	// sparkTop leaves room for the line at the greatest value.
	sparkTop = 2.0
)

// maxGap is the longest time between two samples that a line connects. It is longer if
// the machine slept.
const maxGap = 5 * sampleInterval / 2

// value is a point of a sparkline. A gap in the line is math.NaN.
type value struct {
	at time.Time
	v  float64
}

// sparkline is the drawing of a quantity: paths for the attribute d of SVG.
type sparkline struct {
	Line, Area string
	// Down shades the times without a connection.
	Down string
}

// gauge returns how a quantity changed. ok says whether it was known.
func gauge(samples []sample, of func(sample) (v float64, ok bool)) []value {
	values := make([]value, len(samples))
	for i, s := range samples {
		v, ok := of(s)
		if !ok {
			v = math.NaN()
		}
		values[i] = value{s.at, v}
	}
	return values
}

// rate returns how much a count grew in each second.
func rate(samples []sample, of func(sample) int64) []value {
	var values []value
	for i := 1; i < len(samples); i++ {
		before, s := samples[i-1], samples[i]
		took, grown := s.at.Sub(before.at), of(s)-of(before)
		v := math.NaN()
		if took > 0 && took <= maxGap && grown >= 0 {
			v = float64(grown) / took.Seconds()
		}
		values = append(values, value{s.at, v})
	}
	return values
}

// greatest returns the greatest value that the chart shows, or 0.
func greatest(values []value, now time.Time) (most float64) {
	for _, v := range values {
		if v.v > most && now.Sub(v.at) <= chartSpan {
			most = v.v
		}
	}
	return most
}

// last returns the newest value, if it is known.
func last(values []value) (v float64, ok bool) {
	if len(values) == 0 {
		return 0, false
	}
	v = values[len(values)-1].v
	return v, !math.IsNaN(v)
}

// draw draws values below scale, which is at the top, from chartSpan before now to now.
func draw(values []value, scale float64, now time.Time) (s sparkline) {
	var line, area strings.Builder
	var run []value // the points of an unbroken line
	finish := func() {
		if len(run) == 0 {
			return
		}
		first, end := x(run[0].at, now), x(run[len(run)-1].at, now)
		fmt.Fprintf(&area, "M%.1f %.0fL", first, sparkHeight)
		for i, v := range run {
			if 0 < i && i < len(run)-1 && v.v == run[i-1].v && v.v == run[i+1].v {
				continue // on a level line
			}
			op := "L"
			if i == 0 {
				op = "M"
			}
			point := fmt.Sprintf("%.1f %.1f", x(v.at, now), y(v.v, scale))
			line.WriteString(op + point)
			area.WriteString(point + " ")
		}
		if len(run) == 1 {
			line.WriteString("h.1") // a dot
		}
		fmt.Fprintf(&area, "%.1f %.0fZ", end, sparkHeight)
		run = nil
	}
	for _, v := range values {
		if now.Sub(v.at) > chartSpan || v.at.After(now) {
			continue
		}
		if math.IsNaN(v.v) || len(run) > 0 && v.at.Sub(run[len(run)-1].at) > maxGap {
			finish()
		}
		if !math.IsNaN(v.v) {
			run = append(run, v)
		}
	}
	finish()
	return sparkline{Line: line.String(), Area: area.String()}
}

// drawDown draws the times without a connection. A sample stands for the time since the
// one before it.
func drawDown(samples []sample, now time.Time) string {
	var path strings.Builder
	for i := 0; i < len(samples); {
		if samples[i].connected {
			i++
			continue
		}
		from := samples[i].at.Add(-sampleInterval)
		for i < len(samples) && !samples[i].connected {
			i++
		}
		left, right := x(from, now), x(samples[i-1].at, now)
		if right > left {
			fmt.Fprintf(&path, "M%.1f 0H%.1fV%.0fH%.1fZ", left, right, sparkHeight, left)
		}
	}
	return path.String()
}

// x is where a time is, at the edge if the chart does not show it.
func x(at, now time.Time) float64 {
	return sparkWidth * min(1, max(0, 1-now.Sub(at).Seconds()/chartSpan.Seconds()))
}

// y is where a value is.
func y(v, scale float64) float64 {
	if scale <= 0 {
		return sparkHeight - 1 // the line at zero has to be seen
	}
	return sparkHeight - 1 - v/scale*(sparkHeight-1-sparkTop)
}
