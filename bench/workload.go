package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// workload.go lists what is measured. streams and the slow link have files of
// their own.

// sample is what one measurement of one variant has given, by the metrics'
// keys. What is not known is left out.
type sample map[string]float64

// metric is one of the figures of a workload.
type metric struct {
	Key           string `json:"key"`
	Title         string `json:"title"`
	Unit          string `json:"unit,omitempty"`
	LowerIsBetter bool   `json:"lower_is_better,omitempty"`
	// InTable and InPlot say where it is shown. All are in the JSON.
	InTable bool `json:"in_table,omitempty"`
	InPlot  bool `json:"in_plot,omitempty"`
}

// Keys of metrics that are looked for by name.
const (
	cpuCaddy  = "cpu_caddy"
	cpuSSH    = "cpu_ssh"
	cpuClient = "cpu_client" // Caddy's and ssh's
	cpuSSHD   = "cpu_sshd"
)

// cpuMetrics are what addUsage fills in.
func cpuMetrics(unit string) []metric {
	return []metric{
		{Key: cpuCaddy, Title: "CPU of Caddy", Unit: unit, LowerIsBetter: true},
		{Key: cpuSSH, Title: "CPU of ssh", Unit: unit, LowerIsBetter: true},
		{Key: cpuClient, Title: "CPU of Caddy and ssh", Unit: unit, LowerIsBetter: true},
		{Key: cpuSSHD, Title: "CPU of sshd", Unit: unit, LowerIsBetter: true},
	}
}

// workload is something to measure.
type workload struct {
	id, title string
	// group is another name by which -workloads chooses it, with its likes: what
	// the id has before its first hyphen, unless it says otherwise.
	group string
	// names are the ways' titles where they differ from the usual ones.
	names map[variant]string
	// variants are the ways that it is measured, tunnel among them: nil for the
	// usual three. Those that differ from tunnel are what tunnel is compared with.
	variants []variant
	metrics  []metric
	measure  func(context.Context, *stage, variant) (sample, error)
	// isolated says that it makes a network device, in a network of the benchmark's own.
	isolated bool
	// missing says what this machine lacks for it, in a few words ("nginx is not
	// installed"): empty for nothing, and nil for a workload that needs nothing.
	// What lacks something is reported as not measured, and -update refuses.
	missing func(*stage) string
}

// ways returns the variants of the workload, in the order of the first round.
func (w workload) ways() []variant {
	if w.variants == nil {
		return variants
	}
	return w.variants
}

// Groups of workloads.
const (
	groupRequests = "requests"
	groupBulk     = "bulk"
	groupStart    = "start"
	groupStreams  = "streams"
	groupSlow     = "slow"
	groupBeside   = "beside"
	groupRaw      = "raw"
	groupBind     = "bind"
	groupMany     = "many"
)

// withGCM are the usual variants, and `ssh -L` with the cipher of tunnel.
var withGCM = append(slices.Clone(variants), sshLGCM)

// workloads returns all, in the order of the table.
func workloads(o options) []workload {
	page := load{path: "/bytes/1024", length: 1 << 10}
	with := func(clients int) load {
		l := page
		l.clients = clients
		return l
	}
	fifty := requests("small-50", "", with(50))
	fifty.variants = withGCM
	nginxFifty := requests("nginx-50", ", nginx", with(50))
	nginxFifty.variants = withGCM
	anew := with(8)
	anew.newConns = true
	list := []workload{
		requests("small-1", "", with(1)),
		requests("small-10", "", with(10)),
		fifty,
		requests("small-200", "", with(200)),
		requests("nginx-1", ", nginx", with(1)),
		nginxFifty,
		requests("medium-20", "", load{path: "/bytes/102400", length: 100 << 10, clients: 20}),
		requests("new-connections", ", each request anew", anew),
		bulk("down", "down", o.bulk, download),
		bulk("nginx-down", "down, nginx", o.bulk, download),
		bulk("up", "up", o.bulk, upload),
		coldStart(),
	}
	list = append(list,
		idleStreams("websockets", webSockets, o.streams, o.settle),
		// Those show to be streams only by being silent for a while.
		idleStreams("events", serverSentEvents, o.streams, 8*o.settle),
		slowLink(),
	)
	for _, to := range []direction{down, up} {
		for _, count := range []int{1, 4, 16} {
			list = append(list, beside(to, count))
		}
	}
	list = append(list, rawWorkloads(o)...)
	list = append(list, bindWorkloads(o)...)
	list = append(list, manyClientsWorkloads(o)...)
	list = append(list, manyTunnels(o.tunnels, o.quick))
	if o.workloads != "" { // they are chosen by name only
		list = append(list, wanWorkloads(o)...)
		list = append(list, windowWorkloads(o)...)
		list = append(list, adviceWorkloads(o)...)
	}
	return list
}

// clients writes a number of them.
func clients(n int) string {
	if n == 1 {
		return "1 client"
	}
	return strconv.Itoa(n) + " clients"
}

// size writes a number of bytes.
func size(bytes int64) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d KiB", bytes>>10)
}

// load runs one, with wrk where that is there and the duration is one of its.
func (s *stage) load(ctx context.Context, l load) (loadResult, error) {
	if s.wrk != "" && l.duration%time.Second == 0 {
		return s.runWrk(ctx, l)
	}
	return runLoad(ctx, l)
}

// requestMetrics are what measureRequests fills in.
func requestMetrics() []metric {
	return append([]metric{
		{Key: "rate", Title: "requests", Unit: "/s", InTable: true, InPlot: true},
		{Key: "p50", Title: "median", Unit: "ms", LowerIsBetter: true},
		{Key: "p99", Title: "p99", Unit: "ms", LowerIsBetter: true, InTable: true},
	}, cpuMetrics("µs")...)
}

// bulkMetrics are what measureBulk fills in.
func bulkMetrics() []metric {
	return append([]metric{
		{Key: "rate", Title: "bytes", Unit: "MB/s", InTable: true, InPlot: true},
	}, cpuMetrics("s/GB")...)
}

// requests is clients that ask for the same page, over and over. A note says
// what is special about it.
func requests(id, note string, l load) workload {
	w := workload{
		id:      id,
		group:   groupRequests,
		title:   fmt.Sprintf("%s, %s%s", size(l.length), clients(l.clients), note),
		metrics: requestMetrics(),
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.wayTo(ctx, v, upstreamOf(id))
			if err != nil {
				return nil, err
			}
			return s.measureRequests(ctx, w, l)
		},
	}
	return behind(w)
}

// behind adds what a workload needs for its web server.
func behind(w workload) workload {
	if upstreamOf(w.id) == nginxFiles {
		w.missing = needsNginx
	}
	return w
}

// measureRequests measures a load through a way. The load's address and
// duration are set here.
func (s *stage) measureRequests(ctx context.Context, w *way, l load) (sample, error) {
	l.addr, l.duration = w.addr, s.options.duration
	if l.newConns {
		l.addr = w.closeAddr
	}
	if err := checkPage(ctx, l); err != nil {
		return nil, err
	}
	before, finish := w.usage(), s.profile(ctx, w)
	result, err := s.load(ctx, l)
	if err := errors.Join(err, finish()); err != nil {
		return nil, err
	}
	out := sample{"rate": result.rate(), "p50": milliseconds(result.p50), "p99": milliseconds(result.p99)}
	w.addUsage(out, before, float64(result.requests), time.Microsecond)
	return out, nil
}

// checkPage fetches a load's page once: wrk tells the sum of the lengths only.
func checkPage(ctx context.Context, l load) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: requestTimeout}
	return fetch(ctx, &client, "http://"+l.addr+l.path, l.length)
}

// milliseconds is a duration in them.
func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// bulk moves that many bytes in one request, and again until the duration is
// over.
func bulk(id, direction string, length int64, move func(context.Context, *way, int64) error) workload {
	w := workload{
		id:       id,
		title:    size(length) + " " + direction,
		group:    groupBulk,
		variants: withGCM,
		metrics:  bulkMetrics(),
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.wayTo(ctx, v, upstreamOf(id))
			if err != nil {
				return nil, err
			}
			return s.measureBulk(ctx, w, length, move)
		},
	}
	return behind(w)
}

// measureBulk moves that many bytes through a way, and again until the duration
// is over.
func (s *stage) measureBulk(ctx context.Context, w *way, length int64, move func(context.Context, *way, int64) error) (sample, error) {
	before, finish, start := w.usage(), s.profile(ctx, w), time.Now()
	var moved float64
	var err error
	for err == nil && (moved == 0 || time.Since(start) < s.options.duration) {
		err = move(ctx, w, length)
		moved += float64(length)
	}
	out := sample{"rate": moved / 1e6 / time.Since(start).Seconds()}
	w.addUsage(out, before, moved/1e9, time.Second)
	return out, errors.Join(err, finish())
}

// bulkClient has larger buffers than a client in Go has by default, so that it
// is not what is measured.
var bulkClient = http.Client{Transport: &http.Transport{DisableKeepAlives: true, ReadBufferSize: 256 << 10, WriteBufferSize: 256 << 10}}

func download(ctx context.Context, w *way, length int64) error {
	return fetch(ctx, &bulkClient, w.url(fmt.Sprintf("/bytes/%d", length)), length)
}

func upload(ctx context.Context, w *way, length int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url("/upload"), io.LimitReader(zeros{}, length))
	if err != nil {
		return err
	}
	request.ContentLength = length
	response, err := bulkClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	var received strings.Builder
	if _, err := io.Copy(&received, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || received.String() != strconv.FormatInt(length, 10) {
		return fmt.Errorf("uploading %d bytes: status %d, and the server got %q", length, response.StatusCode, received.String())
	}
	return nil
}

// zeros is a reader of as many as one wants.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// coldStart is from starting Caddy, and ssh, to the first response.
func coldStart() workload {
	return workload{
		id:      "cold-start",
		group:   groupStart,
		title:   "cold start to the first response",
		metrics: []metric{{Key: "time", Unit: "ms", LowerIsBetter: true, InTable: true, InPlot: true}},
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.startWay(ctx, v, nil)
			if err != nil {
				return nil, err
			}
			defer w.stop()
			return sample{"time": milliseconds(w.ready)}, nil
		},
	}
}
