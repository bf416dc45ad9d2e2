package main

import (
	"context"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

const wrkOutput = `Running 3s test @ http://127.0.0.1:8080/bytes/1024
  1 threads and 50 connections
  Latency Distribution
     50%    4.51ms
Requests/sec:  10000.50
Transfer/sec:     11.44MB
figures {"requests": 30000, "microseconds": 3000000, "bytes": 34500000, "p50": 4510, "p99": 9020, "connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}
`

func TestParseWrk(t *testing.T) {
	got, err := parseWrk([]byte(wrkOutput), 1024)
	want := loadResult{requests: 30000, elapsed: 3 * time.Second, p50: 4510 * time.Microsecond, p99: 9020 * time.Microsecond}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got.rate() != 10000 {
		t.Errorf("the rate is %v, want 10000", got.rate())
	}
}

// TestParseWrkErrors is that requests which failed, or got something else, are
// no result.
func TestParseWrkErrors(t *testing.T) {
	for _, test := range []struct{ old, replacement, want string }{
		{`"read": 0`, `"read": 3`, "3 reads"},
		{`"connect": 0`, `"connect": 1`, "1 connects"},
		{`"write": 0`, `"write": 1`, "1 writes"},
		{`"timeout": 0`, `"timeout": 7`, "7 timeouts"},
		{`"status": 0`, `"status": 30000`, "30000 statuses"},
		{`"bytes": 34500000`, `"bytes": 3450000`, "have 115 bytes"},
		{`"bytes": 34500000`, `"bytes": 345000000`, "have 11500 bytes"},
		{`"requests": 30000`, `"requests": 0`, "no request was answered"},
		{`"requests": 30000`, `"requests": x`, "parsing"},
		{"figures ", "", "no figures"},
	} {
		_, err := parseWrk([]byte(strings.Replace(wrkOutput, test.old, test.replacement, 1)), 1024)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("with %s: %v, want %q", test.replacement, err, test.want)
		}
	}
}

// TestWrk is that the script does what it should, in the wrk that is here.
func TestWrk(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	path, err := exec.LookPath("wrk")
	if err != nil {
		t.Skip("wrk is not installed; without it, the benchmark has a generator of its own")
	}
	server := httptest.NewServer(newWeb())
	defer server.Close()
	s := &stage{wrk: path, dir: t.TempDir()}
	l := load{addr: server.Listener.Addr().String(), path: "/bytes/1024", length: 1024, clients: 2, duration: time.Second}
	for _, l.newConns = range []bool{false, true} {
		result, err := s.runWrk(t.Context(), l)
		if err != nil || result.requests == 0 || result.p99 < result.p50 || result.p50 == 0 {
			t.Errorf("new connections %v: %+v, %v", l.newConns, result, err)
		}
	}
	l.path = "/absent"
	if _, err := s.runWrk(t.Context(), l); err == nil || !strings.Contains(err.Error(), "statuses") {
		t.Errorf("of a page that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.runWrk(ctx, l); err == nil {
		t.Error("an interrupted run has a result")
	}
}
