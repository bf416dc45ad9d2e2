package main

import (
	"math"
	"slices"
	"time"
)

// median returns the middle of the values, or the mean of both middles; NaN of
// none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// percentile returns the value that the part p of the sorted values does not
// exceed; zero of none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// significant rounds to four significant digits: more would be noise.
func significant(x float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return x
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(x))))
	if scale >= 1 {
		return math.Round(x*scale) / scale
	}
	return math.Round(x*scale) * math.Round(1/scale) // no 12340.000000000002
}

// spread is the median of values, and the smallest and the largest of them.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// spreadOf returns that of one value at least.
func spreadOf(values []float64) spread {
	return spread{Median: significant(median(values)), Low: significant(slices.Min(values)), High: significant(slices.Max(values))}
}

// factor is how many times the smallest the largest is.
func (s spread) factor() float64 { return s.High / s.Low }
