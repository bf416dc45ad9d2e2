package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// slowlink.go is the workload of small requests beside a bulk upload on a slow
// link.

const (
	// slowClients ask for 1 KiB each.
	slowClients = 8
	// slowFactor is how many times longer than others this takes: few requests
	// go through such a link in a second.
	slowFactor = 3
	// warmTime is how long they ask before the upload begins: they are there
	// already, and their connections are.
	warmTime = 500 * time.Millisecond
	// fillTime is how long, at most, the upload has to fill the queues before
	// the first request.
	fillTime = 2 * time.Second
)

// slowSpeed is that of the link.
var slowSpeed = linkSpeed{bandwidth: 10e6 / 8, delay: 50 * time.Millisecond}

func slowLink() workload {
	return workload{
		id:    "slow-link",
		group: groupSlow,
		title: "1 KiB beside an upload at 10 Mbit/s",
		metrics: []metric{
			{Key: "p50", Title: "median", Unit: "ms", LowerIsBetter: true, InTable: true},
			{Key: "p99", Title: "p99", Unit: "ms", LowerIsBetter: true, InTable: true, InPlot: true},
			{Key: "rate", Title: "requests", Unit: "/s"},
			{Key: "upload", Title: "the upload", Unit: "MB/s", InTable: true},
		},
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.startWay(ctx, v, &slowSpeed)
			if err != nil {
				return nil, err
			}
			defer w.stop()
			small := load{addr: w.addr, path: "/bytes/1024", length: 1024, clients: slowClients, duration: slowFactor * s.options.duration}
			first := small
			first.duration = warmTime
			if _, err := runLoad(ctx, first); err != nil {
				return nil, err
			}
			ended, stop := endlessUpload(ctx, w)
			defer stop()
			sleepUntil(ctx, time.Now().Add(min(fillTime, slowFactor*s.options.duration)))
			before, err := s.received(ctx)
			if err != nil {
				return nil, err
			}
			start := time.Now()
			result, err := runLoad(ctx, small)
			if err != nil {
				return nil, err
			}
			after, err := s.received(ctx)
			if err != nil {
				return nil, err
			}
			uploaded := (after - before) / 1e6 / time.Since(start).Seconds()
			select {
			case err := <-ended:
				return nil, fmt.Errorf("the upload ended early: %w", err)
			default:
			}
			if uploaded == 0 {
				return nil, errors.New("the upload does not go on")
			}
			return sample{"p50": milliseconds(result.p50), "p99": milliseconds(result.p99), "rate": result.rate(), "upload": uploaded}, nil
		},
	}
}

// endlessUpload uploads until stop is called, which waits for its end. The
// channel gets why it ended, if it does so earlier.
func endlessUpload(ctx context.Context, w *way) (ended <-chan error, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	failed, done := make(chan error, 1), make(chan struct{})
	go func() { // returns when stop is called, or the upload fails
		defer close(done)
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url("/upload"), zeros{})
		if err == nil {
			var response *http.Response
			if response, err = bulkClient.Do(request); err == nil {
				_ = response.Body.Close()
				err = fmt.Errorf("status %d", response.StatusCode)
			}
		}
		failed <- err
	}()
	return failed, func() {
		cancel()
		<-done
	}
}

// received returns the bytes that the web server has got in all uploads.
func (s *stage) received(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.webAddr+"/received", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var body strings.Builder
	if _, err := io.Copy(&body, response.Body); err != nil {
		return 0, err
	}
	return strconv.ParseFloat(body.String(), 64)
}
