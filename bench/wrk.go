package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// wrk.go has wrk generate the load: it takes less of the machine than a
// program in Go does.

// wrkScript has wrk print its figures in full, as a line of JSON. It does not
// run at each request.
const wrkScript = `
done = function(summary, latency, requests)
	local e = summary.errors
	io.write(string.format('figures {"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, ' ..
		'"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
		summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
		e.connect, e.read, e.write, e.status, e.timeout))
end
`

// wrkFigures is that line. Times are in microseconds.
type wrkFigures struct {
	Requests     int
	Microseconds int64
	Bytes        int64 // of responses, with their headers
	P50, P99     int64

	// Errors, by where they came up.
	Connect, Read, Write, Status, Timeout int
}

// maxHeader is more than the headers of any response here.
const maxHeader = 1024

// runWrk is runLoad by wrk. The load's duration is in whole seconds.
func (s *stage) runWrk(ctx context.Context, l load) (loadResult, error) {
	script := filepath.Join(s.dir, "wrk.lua")
	if err := s.write("wrk.lua", wrkScript); err != nil {
		return loadResult{}, err
	}
	args := []string{
		"-t1", "-c" + strconv.Itoa(l.clients), "-d" + strconv.Itoa(int(l.duration.Seconds())) + "s", "--latency",
		"--timeout", strconv.Itoa(int(requestTimeout.Seconds())) + "s", "-s", script,
	}
	if l.newConns {
		args = append(args, "-H", "Connection: close")
	}
	cmd := exec.CommandContext(ctx, s.wrk, append(args, "http://"+l.addr+l.path)...) //nolint:gosec // G204: the wrk of PATH
	cmd.SysProcAttr = childAttributes()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return loadResult{}, fmt.Errorf("running wrk: %w\n%s", err, out)
	}
	return parseWrk(out, l.length)
}

// parseWrk reads wrk's output, where each response should have had a body of
// that length. Errors that wrk counted are one here.
func parseWrk(out []byte, length int64) (loadResult, error) {
	var f wrkFigures
	found := false
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if line, ok := strings.CutPrefix(lines.Text(), "figures "); ok {
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				return loadResult{}, fmt.Errorf("parsing wrk's %q: %w", line, err)
			}
			found = true
		}
	}
	mean := float64(f.Bytes) / float64(max(f.Requests, 1))
	switch {
	case !found:
		return loadResult{}, fmt.Errorf("no figures from wrk, but\n%s", out)
	case f.Connect+f.Read+f.Write+f.Status+f.Timeout > 0:
		return loadResult{}, fmt.Errorf("requests failed: %d connects, %d reads, %d writes, %d timeouts, %d statuses of 400 or more; %d were answered",
			f.Connect, f.Read, f.Write, f.Timeout, f.Status, f.Requests)
	case f.Requests == 0 || f.Microseconds == 0:
		return loadResult{}, fmt.Errorf("no request was answered")
	case mean < float64(length) || mean > float64(length+maxHeader):
		return loadResult{}, fmt.Errorf("responses have %.0f bytes with their headers, where the body alone should have %d", mean, length)
	}
	return loadResult{
		requests: f.Requests,
		elapsed:  time.Duration(f.Microseconds) * time.Microsecond,
		p50:      time.Duration(f.P50) * time.Microsecond,
		p99:      time.Duration(f.P99) * time.Microsecond,
	}, nil
}
