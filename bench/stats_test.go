package main

import (
	"math"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v, want NaN", got)
	}
	values := []float64{3, 1, 2}
	median(values)
	if values[0] != 3 {
		t.Errorf("median has sorted its argument: %v", values)
	}
}

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, test := range []struct {
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{hundred, 0.50, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred[:1], 0.99, 1},
		{hundred[:2], 0.50, 1},
		{nil, 0.99, 0},
	} {
		if got := percentile(test.sorted, test.p); got != test.want {
			t.Errorf("the part %v of %d values: %d, want %d", test.p, len(test.sorted), got, test.want)
		}
	}
}

func TestSignificant(t *testing.T) {
	for x, want := range map[float64]float64{
		0:         0,
		1.23456:   1.235,
		12345:     12350,
		0.0012344: 0.001234,
		-98.765:   -98.77,
		999960:    1000000,
		12340.2:   12340,
	} {
		if got := significant(x); got != want {
			t.Errorf("significant(%v) = %v, want %v", x, got, want)
		}
	}
}
