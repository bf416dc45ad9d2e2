package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// example is a small run.
func example() results {
	w := workload{
		id: "small", title: "1 KiB, 1 client",
		metrics: append([]metric{
			{Key: "rate", Title: "requests", Unit: "/s", InTable: true, InPlot: true},
			{Key: "p50", Title: "median", Unit: "ms", LowerIsBetter: true},
			{Key: "p99", Title: "p99", Unit: "ms", LowerIsBetter: true, InTable: true},
		}, cpuMetrics("µs")...),
	}
	rounds := []map[variant]sample{
		{
			direct: {"rate": 4000, "p50": 0.2, "p99": 1, cpuClient: 50},
			tunnel: {"rate": 3000, "p50": 0.3, "p99": 2, cpuClient: 70, cpuSSHD: 30},
			sshL:   {"rate": 100, "p50": 10, "p99": 40, cpuClient: 80, cpuSSHD: 35},
		},
		{ // a machine that is half as fast
			direct: {"rate": 2000, "p50": 0.4, "p99": 2, cpuClient: 50},
			tunnel: {"rate": 1500, "p50": 0.6, "p99": 4, cpuClient: 70, cpuSSHD: 30},
			sshL:   {"rate": 50, "p50": 20, "p99": 40, cpuClient: 80, cpuSSHD: 35},
		},
		{
			direct: {"rate": 4000, "p50": 0.2, "p99": 1, cpuClient: 50},
			tunnel: {"rate": 3200, "p50": 0.3, "p99": 2, cpuClient: 70, cpuSSHD: 30},
			sshL:   {"rate": 100, "p50": 10, "p99": 40, cpuClient: 80, cpuSSHD: 35},
		},
	}
	cold := workload{id: "cold", title: "cold <start>", metrics: []metric{{Key: "time", Unit: "ms", LowerIsBetter: true, InTable: true, InPlot: true}}}
	return results{
		Environment: environment{Date: "2026-01-02", CPU: "A & B", Cores: 2, System: "Debian", Kernel: "6.1", Go: "1.26.1", Caddy: "v2.11.9", OpenSSH: "9.2p1", OpenSSHServer: "9.2p1"},
		Settings:    settings{Rounds: 3, Seconds: 3, LoadGenerator: "wrk 4.1.0", Streams: 3000},
		Workloads: []workloadResult{
			summarize(w, rounds),
			summarize(cold, []map[variant]sample{{direct: {"time": 50}, tunnel: {"time": 100}, sshL: {"time": 25}}}),
		},
	}
}

// TestSummarize is that ratios are taken within rounds: the slow round does not
// count against either.
func TestSummarize(t *testing.T) {
	rate := example().Workloads[0].metric("rate")
	if rate.Median[direct] != 4000 || rate.Median[tunnel] != 3000 || rate.Median[sshL] != 100 {
		t.Errorf("medians %v", rate.Median)
	}
	if *rate.ToSSH != 30 || *rate.ToDirect != 0.75 {
		t.Errorf("ratios %v and %v, want 30 and 0.75", *rate.ToSSH, *rate.ToDirect)
	}
	if len(rate.Rounds[tunnel]) != 3 {
		t.Errorf("rounds %v", rate.Rounds)
	}
	sshd := example().Workloads[0].metric(cpuSSHD)
	if sshd.ToDirect != nil {
		t.Errorf("sshd's CPU has a ratio of %v to none", *sshd.ToDirect)
	}
	if m := example().Workloads[0].metric(cpuCaddy); m != nil {
		t.Errorf("what was never measured is %+v", m)
	}
}

func TestTable(t *testing.T) {
	want := strings.Join([]string{
		"| workload        | figure   | no tunnel | `ssh_tunnel` | `ssh -L` | against `ssh -L` | against no tunnel | CPU of Caddy (and `ssh`) | CPU of sshd |",
		"|-----------------|----------|----------:|-------------:|---------:|-----------------:|------------------:|-------------------------:|------------:|",
		"| 1 KiB, 1 client | requests |   4,000/s |      3,000/s |    100/s |              30× |             0.75× |          50 · 70 · 80 µs |  30 · 35 µs |",
		"|                 | p99      |   1.00 ms |      2.00 ms |    40 ms |            0.05× |             2.00× |                          |             |",
		"| cold <start>    |          |     50 ms |       100 ms |    25 ms |            4.00× |             2.00× |                          |             |",
		"",
		"Medians of 3 rounds. 2026-01-02, 2 cores of A & B, Debian, Linux 6.1, Go 1.26.1, Caddy v2.11.9,",
		"OpenSSH 9.2p1. Load: wrk 4.1.0.",
		"",
	}, "\n")
	if got := table(example()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0.00", 0.054: "0.05", 1.5: "1.50", 9.99: "9.99", 9.996: "10", 12: "12", 30.44: "30.4",
		99.9: "99.9", 99.96: "100", 123.4: "123", 1234.5: "1,234", 1234567: "1,234,567", -1.25: "-1.25", -1234: "-1,234",
	} {
		if got := number(x); got != want {
			t.Errorf("number(%v) = %q, want %q", x, got, want)
		}
	}
}

// TestPlot is that the plot is XML, has a bar for each of both ways, and no
// bar out of its place.
func TestPlot(t *testing.T) {
	image := plot(example())
	decoder := xml.NewDecoder(strings.NewReader(image))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v\n%s", err, image)
		}
	}
	for _, want := range []string{
		"cold &lt;start&gt;",
		`width="225.0" height="11" fill="#2b6cb0"`, // 0.75 of the speed
		`width="150.0" height="11" fill="#2b6cb0"`, // twice the time
		`width="360.0" height="11" fill="#d08b3d"`, // half the time, and no wider than there is room
		">2.00</text>",
	} {
		if !strings.Contains(image, want) {
			t.Errorf("no %s in\n%s", want, image)
		}
	}
	if strings.Contains(image, "p99") {
		t.Error("the plot has what is not for it")
	}
}

// TestJSON is that results survive their file, so that what is drawn from it
// is what was measured.
func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	if err := writeResults(path, example()); err != nil {
		t.Fatal(err)
	}
	got, err := readResults(path)
	if err != nil || !reflect.DeepEqual(got, example()) {
		t.Errorf("read %+v, %v; wrote %+v", got, err, example())
	}
	if _, err := readResults(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("no results are some")
	}
}

func TestInsertTable(t *testing.T) {
	readme := "before\n" + readmeBegin + "old\n" + readmeEnd + "\nafter\n"
	got, ok := insertTable(readme, "new\n")
	if want := "before\n" + readmeBegin + "new\n" + readmeEnd + "\nafter\n"; !ok || got != want {
		t.Errorf("got %q, %v", got, ok)
	}
	for _, without := range []string{"text", readmeBegin + "text"} {
		if got, ok := insertTable(without, "new\n"); ok || got != without {
			t.Errorf("%q became %q", without, got)
		}
	}
}

// TestRendered is that the manual's table and the plot are what results.json has:
// go run ./bench -render makes them so.
func TestRendered(t *testing.T) {
	r, err := readResults(filepath.Join("..", resultsFile))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("there are no results yet; go run ./bench -update makes them")
	}
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(filepath.Join("..", plotFile))
	if err != nil {
		t.Fatal(err)
	}
	if string(image) != plot(r) {
		t.Errorf("%s is not what %s has; run 'go run ./bench -render'", plotFile, resultsFile)
	}
	readme, err := os.ReadFile(filepath.Join("..", readmeFile))
	if err != nil {
		t.Fatal(err)
	}
	if updated, ok := insertTable(string(readme), table(r)); !ok || updated != string(readme) {
		t.Errorf("the table in %s is not what %s has; run 'go run ./bench -render'", readmeFile, resultsFile)
	}
}
