package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// load.go is a load generator for where there is no wrk, and for times that
// are not whole seconds.

// requestTimeout is how long one request may take.
const requestTimeout = 10 * time.Second

// load is some clients that ask for a page as fast as they get it.
type load struct {
	addr, path string
	length     int64 // of the page
	clients    int
	newConns   bool // one connection a request
	duration   time.Duration
	timeout    time.Duration // of one request; zero is requestTimeout
	// tolerant counts responses with another status than 200, where others fail.
	tolerant bool
}

// statusError is a response with such a status.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

// patience is how long one request may take.
func (l load) patience() time.Duration { return cmp.Or(l.timeout, requestTimeout) }

// loadResult is how that went.
type loadResult struct {
	requests int // that were answered
	refused  int // of a tolerant load, with another status
	elapsed  time.Duration
	p50, p99 time.Duration
}

// rate returns the requests a second.
func (r loadResult) rate() float64 { return float64(r.requests) / r.elapsed.Seconds() }

// refusedShare returns the percentage of responses that refused is.
func (r loadResult) refusedShare() float64 {
	return 100 * float64(r.refused) / float64(max(r.refused+r.requests, 1))
}

// runLoad runs the clients. One request that fails fails all.
func runLoad(ctx context.Context, l load) (loadResult, error) {
	ctx, cancel := context.WithTimeout(ctx, l.duration+2*l.patience())
	defer cancel()
	request := "GET " + l.path + " HTTP/1.1\r\nHost: " + l.addr + "\r\n"
	if l.newConns {
		request += "Connection: close\r\n"
	}
	latencies, errs, refused := make([][]time.Duration, l.clients), make([]error, l.clients), make([]int, l.clients)
	start := time.Now()
	end := start.Add(l.duration)
	var wg sync.WaitGroup
	for i := range l.clients {
		wg.Go(func() { // returns at end, or at an error
			c := client{load: l, request: []byte(request + "\r\n")}
			defer c.close()
			for time.Now().Before(end) && ctx.Err() == nil {
				began := time.Now()
				err := c.do(ctx)
				if l.tolerant && isRefusal(err) {
					refused[i]++
					continue
				}
				if errs[i] = err; err != nil {
					cancel()
					return
				}
				latencies[i] = append(latencies[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return loadResult{}, fmt.Errorf("asking for %s: %w", l.path, err)
	}
	if err := ctx.Err(); err != nil {
		return loadResult{}, err
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	result := loadResult{requests: len(all), elapsed: elapsed, p50: percentile(all, 0.50), p99: percentile(all, 0.99)}
	for _, n := range refused {
		result.refused += n
	}
	return result, nil
}

// isRefusal reports whether a request got another status than 200, or no answer in time.
func isRefusal(err error) bool {
	status, late := statusError(0), net.Error(nil)
	return errors.As(err, &status) || errors.As(err, &late) && late.Timeout()
}

// client is one of a load's.
type client struct {
	load    load
	request []byte
	conn    net.Conn // nil before the first request
	reader  *bufio.Reader
}

// do sends a request and reads the response.
func (c *client) do(ctx context.Context) error {
	if c.load.newConns {
		c.close()
	}
	if c.conn == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.load.addr)
		if err != nil {
			return err
		}
		c.conn, c.reader = conn, bufio.NewReaderSize(conn, 32<<10)
	}
	_ = c.conn.SetDeadline(time.Now().Add(c.load.patience()))
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.close() // the answer may come yet
		return err
	}
	n, err := io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return statusError(response.StatusCode)
	case n != c.load.length:
		return fmt.Errorf("%d bytes instead of %d", n, c.load.length)
	case response.Close && !c.load.newConns:
		return errors.New("the connection is not kept alive")
	}
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
