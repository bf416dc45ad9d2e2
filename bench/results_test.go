package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// example is a small run.
func example() results {
	w := workload{
		id: "small-50", title: "1 KiB, 50 clients",
		metrics: append([]metric{
			{Key: "rate", Title: "requests", Unit: "/s", InTable: true, InPlot: true},
			{Key: "p50", Title: "median", Unit: "ms", LowerIsBetter: true},
			{Key: "p99", Title: "p99", Unit: "ms", LowerIsBetter: true, InTable: true},
		}, cpuMetrics("µs")...),
	}
	rounds := []map[variant]sample{
		{
			direct: {"rate": 4000, "p50": 0.2, "p99": 1, cpuCaddy: 50, cpuClient: 50},
			tunnel: {"rate": 3000, "p50": 0.3, "p99": 2, cpuCaddy: 60, cpuClient: 60, cpuSSHD: 30},
			sshL:   {"rate": 100, "p50": 10, "p99": 40, cpuCaddy: 50, cpuSSH: 30, cpuClient: 80, cpuSSHD: 35},
		},
		{ // a machine that is half as fast
			direct: {"rate": 2000, "p50": 0.4, "p99": 2, cpuCaddy: 100, cpuClient: 100},
			tunnel: {"rate": 1500, "p50": 0.6, "p99": 4, cpuCaddy: 140, cpuClient: 140, cpuSSHD: 60},
			sshL:   {"rate": 50, "p50": 20, "p99": 40, cpuCaddy: 100, cpuSSH: 60, cpuClient: 160, cpuSSHD: 70},
		},
		{
			direct: {"rate": 4000, "p50": 0.2, "p99": 1, cpuCaddy: 50, cpuClient: 50},
			tunnel: {"rate": 3200, "p50": 0.3, "p99": 2, cpuCaddy: 70, cpuClient: 70, cpuSSHD: 30},
			sshL:   {"rate": 100, "p50": 10, "p99": 40, cpuCaddy: 50, cpuSSH: 30, cpuClient: 80, cpuSSHD: 35},
		},
	}
	cold := workload{id: "cold", title: "cold <start>", metrics: []metric{{Key: "time", Unit: "ms", LowerIsBetter: true, InTable: true, InPlot: true}}}
	return results{
		Environment: environment{Date: "2026-01-02", CPU: "A & B", Cores: 2, System: "Debian", Kernel: "6.1", Go: "1.26.1", Caddy: "v2.11.9", OpenSSH: "9.2p1", OpenSSHServer: "9.2p1"},
		Settings:    settings{Rounds: 3, Seconds: 3, LoadGenerator: "wrk 4.1.0", Streams: 3000},
		Noise:       []noise{{Others: 0.01}, {Others: 0.02, Steal: 0.001}, {}},
		Workloads: []workloadResult{
			summarize(w, rounds),
			summarize(cold, []map[variant]sample{{direct: {"time": 50}, tunnel: {"time": 100}, sshL: {"time": 25}}}),
		},
	}
}

// TestSummarize is that ratios are taken within rounds: the slow round does not
// count against either.
func TestSummarize(t *testing.T) {
	w := example().Workloads[0]
	rate := w.metric("rate")
	if rate.Median[direct] != 4000 || rate.Median[tunnel] != 3000 || rate.Median[sshL] != 100 {
		t.Errorf("medians %v", rate.Median)
	}
	want := map[variant]spread{sshL: {30, 30, 32}, direct: {0.75, 0.75, 0.8}}
	if !reflect.DeepEqual(rate.Ratios, want) {
		t.Errorf("ratios %v, want %v", rate.Ratios, want)
	}
	// Caddy against Caddy and ssh, and against Caddy.
	want = map[variant]spread{sshL: {0.875, 0.75, 0.875}, direct: {1.4, 1.2, 1.4}}
	if got := w.metric(cpuClient).Ratios; !reflect.DeepEqual(got, want) {
		t.Errorf("ratios of CPU time %v, want %v", got, want)
	}
	if len(rate.Rounds[tunnel]) != 3 {
		t.Errorf("rounds %v", rate.Rounds)
	}
	if s, ok := w.ratio(cpuSSHD, direct); ok {
		t.Errorf("sshd's CPU has a ratio of %v to none", s)
	}
	if m := example().Workloads[1].metric(cpuCaddy); m != nil {
		t.Errorf("what was never measured is %+v", m)
	}
}

// TestSpeedRatio is that the speed of a time is its inverse.
func TestSpeedRatio(t *testing.T) {
	w := example().Workloads[0]
	got, ok := w.speedRatio("p99", sshL)
	if want := (spread{20, 10, 20}); !ok || got != want {
		t.Errorf("got %v, %v; want %v", got, ok, want)
	}
	if got, ok := w.speedRatio("rate", sshLGCM); ok {
		t.Errorf("against what was not measured it is %v", got)
	}
}

func TestTables(t *testing.T) {
	want := strings.Join([]string{
		"| workload                       | way          | CPU: Caddy · `ssh` · sshd | throughput |     p99 | CPU of `ssh_tunnel` against it | speed of `ssh_tunnel` against it |",
		"|--------------------------------|--------------|--------------------------:|-----------:|--------:|-------------------------------:|---------------------------------:|",
		"| 1 KiB, 50 clients (`small-50`) | no tunnel    |             50 · – · – µs |    4,000/s | 1.00 ms |              1.40× (1.20–1.40) |                0.75× (0.75–0.80) |",
		"|                                | `ssh_tunnel` |            70 · – · 30 µs |    3,000/s | 2.00 ms |                                |                                  |",
		"|                                | `ssh -L`     |           50 · 30 · 35 µs |      100/s |   40 ms |              0.88× (0.75–0.88) |                      30× (30–32) |",
		"",
		"| workload              | figure | no tunnel | `ssh_tunnel` | `ssh -L` | against `ssh -L` | against no tunnel |",
		"|-----------------------|--------|----------:|-------------:|---------:|-----------------:|------------------:|",
		"| cold <start> (`cold`) |        |     50 ms |       100 ms |    25 ms |            4.00× |             2.00× |",
		"",
		"Medians of 3 rounds; ratios with the smallest and the largest in parentheses. 2026-01-02, 2 cores of",
		"A & B, Debian, Linux 6.1, Go 1.26.1, Caddy v2.11.9, OpenSSH 9.2p1. Load: wrk 4.1.0. Other processes",
		"took 2 % of the CPU time in the noisiest round, and 0 % in the noisiest measurement. The host took",
		"0.1 % and 0 %.",
		"",
	}, "\n")
	if got := tables(example()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestTablesNames is that a workload may name its ways, and that one that was not
// measured is named.
func TestTablesNames(t *testing.T) {
	r := example()
	r.Workloads[0].Names = map[variant]string{tunnel: "`local_forward`"}
	r.NotMeasured = []string{"nginx-1, since nginx is not installed"}
	got := tables(r)
	for _, want := range []string{"| `local_forward` ", "Not measured: nginx-1, since nginx is not installed."} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
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
	h, err := readHistory(path)
	if err != nil || len(h.Machines) != 0 {
		t.Errorf("no file is %+v, %v", h, err)
	}
	want := h.add(example())
	if err := writeHistory(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := readHistory(path)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v; wrote %+v", got, err, want)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readHistory(path); err == nil {
		t.Error("half a file is read")
	}
}

// TestHistory is that a run replaces that of the same machine, and no other.
func TestHistory(t *testing.T) {
	on := func(change func(*environment)) results {
		r := results{Environment: environment{
			Date: "2026-01-01", CPU: "A", Cores: 2, System: "Debian", Kernel: "6.1", Go: "1.26.1",
			Caddy: "v2.11.9", OpenSSH: "9.2p1", OpenSSHServer: "9.2p1",
		}}
		change(&r.Environment)
		return r
	}
	first := on(func(*environment) {})
	again := on(func(e *environment) { e.Date, e.Go, e.Caddy, e.Plugin = "2026-01-02", "1.27", "v2.12.0", "abc" })
	if h := (history{}).add(first).add(again); len(h.Machines) != 1 || h.Machines[0].Environment.Date != "2026-01-02" {
		t.Errorf("the same machine again: %+v", h)
	}
	one, other := first, first
	one.Workloads, other.Workloads = []workloadResult{{ID: "small-1"}, {ID: "down", Title: "old"}}, []workloadResult{{ID: "down", Title: "new"}}
	other.Environment.Plugin = first.Environment.Plugin + "-dirty"
	h := history{}.add(one).add(other)
	if got := h.Machines[0].Workloads; len(h.Machines) != 1 || len(got) != 2 || got[0].ID != "small-1" || got[1].Title != "new" {
		t.Errorf("in pieces: %+v", h)
	}
	other.Settings.Rounds++
	if h = (history{}).add(one).add(other); len(h.Machines[0].Workloads) != 1 {
		t.Errorf("pieces in another manner: %+v", h)
	}
	elsewhere := on(func(e *environment) { e.CPU = "B" })
	if r, err := (history{}).add(one).add(elsewhere).fullest(); err != nil || r.Environment != one.Environment {
		t.Errorf("the fullest: %+v, %v", r, err)
	}
	for name, change := range map[string]func(*environment){
		"processor": func(e *environment) { e.CPU = "B" },
		"cores":     func(e *environment) { e.Cores = 4 },
		"system":    func(e *environment) { e.System = "Alpine" },
		"kernel":    func(e *environment) { e.Kernel = "6.12" },
		"ssh":       func(e *environment) { e.OpenSSH = "10.5" },
		"sshd":      func(e *environment) { e.OpenSSHServer = "10.5" },
	} {
		before := history{}.add(first)
		h := before.add(on(change))
		if len(h.Machines) != 2 || h.Machines[1].Environment != first.Environment || len(before.Machines) != 1 {
			t.Errorf("another %s: %+v", name, h)
		}
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

// TestRendered is that the manual's tables and the plot are what results.json
// has: go run ./bench -render makes them so.
func TestRendered(t *testing.T) {
	contents, err := rendered("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(contents) != 4 {
		t.Errorf("%d files are rendered, want 4", len(contents))
	}
	for name, want := range contents {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what %s has; run 'go run ./bench -render'", name, resultsFile)
		}
	}
}

// TestReadmeLines is that the table of the README has the rows that it is meant
// to have, and that of the manual those and more.
func TestReadmeLines(t *testing.T) {
	h := history{}.add(example())
	want := strings.Join([]string{
		"| workload                       | CPU against `ssh -L` | CPU against no tunnel | speed against `ssh -L` | speed against no tunnel |",
		"|--------------------------------|---------------------:|----------------------:|-----------------------:|------------------------:|",
		"| 1 KiB, 50 clients (`small-50`) |                0.88× |                 1.40× |                    30× |                   0.75× |",
		"",
	}, "\n")
	if got := headlineTable(h, true); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// Another machine, on which nothing but the speed against `ssh -L` differs.
	other := example()
	other.Environment.CPU = "C"
	other.Workloads[0].metric("rate").Ratios[sshL] = spread{20, 10, 25}
	if got := headlineTable(h.add(other), true); !strings.Contains(got, " 0.88× |") || !strings.Contains(got, " 20–30× |") {
		t.Errorf("over two machines:\n%s", got)
	}
}

// TestHeadlines is that the rows are workloads that exist, with ways and metrics
// that these have.
func TestHeadlines(t *testing.T) {
	all := workloads(options{streams: 1, bulk: 1 << 20})
	readme := 0
	for _, h := range headlines {
		i := slices.IndexFunc(all, func(w workload) bool { return w.id == h.workload })
		if i < 0 {
			t.Errorf("no workload %s", h.workload)
			continue
		}
		w := all[i]
		if !slices.Contains(w.ways(), h.against) || !slices.Contains(w.ways(), tunnel) {
			t.Errorf("%s is not measured with %s: %v", h.workload, h.against, w.ways())
		}
		if !slices.ContainsFunc(w.metrics, func(m metric) bool { return m.Key == h.speed }) {
			t.Errorf("%s has no metric %s", h.workload, h.speed)
		}
		if h.inReadme {
			readme++
		}
	}
	if readme < 4 {
		t.Errorf("%d rows are in the README, want 4 at least", readme)
	}
}

// TestWorkloads is that ids are unique, and that each has a group.
func TestWorkloads(t *testing.T) {
	seen := make(map[string]bool)
	for _, w := range workloads(options{streams: 1, bulk: 1 << 20}) {
		if seen[w.id] || w.group == "" {
			t.Errorf("%s: there are two, or it has no group (%q)", w.id, w.group)
		}
		seen[w.id] = true
		if (w.missing != nil) != (upstreamOf(w.id) == nginxFiles) {
			t.Errorf("%s: nginx is needed, and not said to be, or the other way round", w.id)
		}
	}
}

// TestNeedsNginx is that a workload with nginx is not measured without.
func TestNeedsNginx(t *testing.T) {
	if got := needsNginx(&stage{}); got != "nginx is not installed" {
		t.Errorf("without nginx: %q", got)
	}
	if got := needsNginx(&stage{nginx: "/usr/sbin/nginx"}); got != "" {
		t.Errorf("with nginx: %q", got)
	}
}

// TestTunnelCipher is that the `ssh -L` with the same cipher has the one that a
// tunnel names first.
func TestTunnelCipher(t *testing.T) {
	if got := (algorithms.Lists{}).CipherOption().Names()[0]; got != tunnelCipher {
		t.Errorf("a tunnel prefers %s, want %s", got, tunnelCipher)
	}
	if got := sshLGCM.sshOptions(); !slices.Equal(got, []string{"-c", tunnelCipher}) || sshL.sshOptions() != nil {
		t.Errorf("options of ssh: %v and %v", got, sshL.sshOptions())
	}
}
