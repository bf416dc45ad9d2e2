package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// tunnels.go is the workload of hundreds of tunnels that nobody uses. Beside
// them stand as many `ssh -N -L`, which have no configuration to load and no
// metrics. Without a tunnel there is nothing to measure.

const (
	// loginsAtOnce is how many logins Caddy has in progress at one sshd, whatever
	// the number of tunnels. As many of ssh are: more than MaxStartups of sshd
	// (10 by default) would be refused at random.
	loginsAtOnce = 3
	// tunnelsWait is how long all tunnels may take to be up.
	tunnelsWait = 5 * time.Minute
	// idleWindow is how long the CPU time of idle tunnels is counted: longer than
	// the 15 seconds between two keepalives.
	idleWindow = 16 * time.Second
)

// manyTunnels is the workload with that many tunnels.
func manyTunnels(count int, quick bool) workload {
	window := idleWindow
	if quick {
		window = time.Second
	}
	return workload{
		id:       "tunnels",
		group:    groupMany,
		title:    number(float64(count)) + " idle tunnels",
		variants: []variant{tunnel, sshL},
		metrics: []metric{
			{Key: "up", Title: "until all are up", Unit: "s", LowerIsBetter: true, InTable: true},
			{Key: "up_cpu", Title: "CPU of the client until then, for each", Unit: "ms", LowerIsBetter: true},
			{Key: "up_cpu_sshd", Title: "CPU of sshd until then, for each", Unit: "ms", LowerIsBetter: true},
			{Key: "idle", Title: "idle CPU, of a core", Unit: "%", LowerIsBetter: true, InTable: true},
			{Key: "idle_sshd", Title: "idle CPU of sshd, of a core", Unit: "%", LowerIsBetter: true},
			{Key: "memory", Title: "memory of the client", Unit: "MiB", LowerIsBetter: true, InTable: true},
			{Key: "memory_sshd", Title: "memory of sshd", Unit: "MiB", LowerIsBetter: true},
			{Key: "live", Title: "live memory of Caddy", Unit: "MiB", LowerIsBetter: true},
			{Key: "reload", Title: "reload", Unit: "ms", LowerIsBetter: true, InTable: true},
			{Key: "reload_cpu", Title: "CPU of a reload", Unit: "ms", LowerIsBetter: true},
			{Key: "scrape", Title: "metrics", Unit: "KB", LowerIsBetter: true, InTable: true},
			{Key: "series", Title: "series of metrics for each tunnel", LowerIsBetter: true, InTable: true},
			{Key: "scrape_time", Title: "one scrape", Unit: "ms", LowerIsBetter: true},
		},
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, out := &tunnelsWay{count: count}, make(sample)
			defer w.stop()
			if err := s.startTunnels(ctx, w, v, out); err != nil {
				return nil, fmt.Errorf("starting %d tunnels: %w", count, err)
			}
			if err := w.idle(ctx, out, window); err != nil || v != tunnel {
				return out, err
			}
			return out, errors.Join(w.scrape(ctx, out), w.reload(ctx, out))
		},
	}
}

// tunnelsWay is many tunnels to one sshd: one Caddy, or many ssh.
type tunnelsWay struct {
	way   // its caddy and sshd
	count int
	ssh   []*process
}

// stop ends them. Each ssh is alone: it forks nothing that would have to be
// looked for among all processes.
func (w *tunnelsWay) stop() {
	for _, p := range w.ssh {
		p.Kill()
	}
	w.way.stop()
}

// clients returns the ids of the processes on this side.
func (w *tunnelsWay) clients() []int {
	if w.caddy != nil {
		return []int{w.caddy.pid()}
	}
	var pids []int
	for _, p := range w.ssh {
		pids = append(pids, p.pid())
	}
	return pids
}

// servers returns the ids of sshd's processes.
func (w *tunnelsWay) servers() []int {
	pids := []int{w.sshd.pid()}
	for _, child := range descendants(w.sshd.pid()) {
		pids = append(pids, child.pid)
	}
	return pids
}

// startTunnels starts sshd and the tunnels, and returns once all are up.
func (s *stage) startTunnels(ctx context.Context, w *tunnelsWay, v variant, out sample) error {
	var bastion string
	var err error
	if w.sshd, bastion, err = s.startSSHD(); err != nil {
		return err
	}
	start := time.Now()
	if v == tunnel {
		err = s.startCaddyTunnels(ctx, w, bastion)
	} else {
		err = s.startSSHTunnels(ctx, w, bastion)
	}
	if err != nil {
		return err
	}
	out["up"] = time.Since(start).Seconds()
	client, sshd := w.cpu()
	out["up_cpu"] = milliseconds(client) / float64(w.count)
	out["up_cpu_sshd"] = milliseconds(sshd) / float64(w.count)
	return nil
}

func (s *stage) startCaddyTunnels(ctx context.Context, w *tunnelsWay, bastion string) error {
	if err := s.runCaddy(&w.way, s.tunnelsCaddyfile(w.count, bastion)); err != nil {
		return err
	}
	var last error
	for deadline := time.Now().Add(tunnelsWait); time.Now().Before(deadline); sleepUntil(ctx, time.Now().Add(20*time.Millisecond)) {
		if _, last = w.adminGet(ctx, "/ssh_tunnel/ready"); last == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !w.caddy.Running() {
			return w.caddy.failed("has ended at once")
		}
	}
	return errors.Join(last, w.caddy.failed(fmt.Sprintf("has tunnels that are not up after %v", tunnelsWait)))
}

// tunnelsCaddyfile has that many tunnels, with nothing that uses them.
func (s *stage) tunnelsCaddyfile(count int, bastion string) string {
	var text strings.Builder
	text.WriteString("{\n\t%s\n\tssh_tunnel {\n")
	for i := range count {
		text.WriteString(s.tunnelBlock(fmt.Sprintf("t%d", i+1), bastion))
	}
	text.WriteString("\t}\n}\n")
	return text.String()
}

// startSSHTunnels starts an ssh for each, with a socket that exists once it has
// logged in.
func (s *stage) startSSHTunnels(ctx context.Context, w *tunnelsWay, bastion string) error {
	next := make(chan int, w.count)
	for i := range w.count {
		next <- i
	}
	close(next)
	errs := make([]error, loginsAtOnce)
	var mu sync.Mutex // guards what startSSHTunnel uses of the stage and the way
	var wg sync.WaitGroup
	for worker := range loginsAtOnce {
		wg.Go(func() { // returns when all are up, or one is not
			for range next {
				if errs[worker] = s.startSSHTunnel(ctx, w, bastion, &mu); errs[worker] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *stage) startSSHTunnel(ctx context.Context, w *tunnelsWay, bastion string, mu *sync.Mutex) error {
	mu.Lock()
	socket := s.file("tunnel.sock")
	p, err := s.runSSH(bastion, "-L", socket+":"+s.webAddr)
	if err == nil {
		w.ssh = append(w.ssh, p)
	}
	mu.Unlock()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(startWait); time.Now().Before(deadline); sleepUntil(ctx, time.Now().Add(5*time.Millisecond)) {
		if _, err := os.Stat(socket); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !p.Running() {
			return p.failed("has ended at once")
		}
	}
	return p.failed(fmt.Sprintf("did not log in within %v", startWait))
}

// cpu returns what both sides have used so far.
func (w *tunnelsWay) cpu() (client, sshd time.Duration) {
	for _, pid := range w.clients() {
		now, _ := readStat(pid)
		client += now.cpu
	}
	sshd, _ = cpuTime(w.sshd.pid())
	return client, sshd
}

// idle measures the tunnels while nobody uses them.
func (w *tunnelsWay) idle(ctx context.Context, out sample, window time.Duration) error {
	// Not what the logins have left to do.
	sleepUntil(ctx, time.Now().Add(min(2*time.Second, window)))
	client, sshd := w.cpu()
	start := time.Now()
	sleepUntil(ctx, start.Add(window))
	clientAfter, sshdAfter := w.cpu()
	elapsed := time.Since(start)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	out["idle"] = 100 * (clientAfter - client).Seconds() / elapsed.Seconds()
	out["idle_sshd"] = 100 * (sshdAfter - sshd).Seconds() / elapsed.Seconds()
	if memory, ok := proportionalMemory(w.clients()); ok {
		out["memory"] = memory / (1 << 20)
	}
	if memory, ok := proportionalMemory(w.servers()); ok {
		out["memory_sshd"] = memory / (1 << 20)
	}
	if w.caddy == nil {
		return nil
	}
	live, err := w.liveMemory(ctx)
	out["live"] = live / (1 << 20)
	return err
}

// scrape measures the metrics.
func (w *tunnelsWay) scrape(ctx context.Context, out sample) error {
	start := time.Now()
	text, err := w.adminGet(ctx, "/metrics")
	if err != nil {
		return err
	}
	out["scrape_time"] = milliseconds(time.Since(start))
	bytes, series := tunnelSeries(text)
	out["scrape"] = float64(bytes) / 1e3
	out["series"] = float64(series) / float64(w.count)
	return nil
}

// tunnelSeries returns how many series in metrics are a tunnel's, and the bytes
// of their lines.
func tunnelSeries(metrics string) (bytes, series int) {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "caddy_ssh_tunnel_") {
			series++
			bytes += len(line)
		}
	}
	return bytes, series
}

// reload loads the configuration again, which changes nothing.
func (w *tunnelsWay) reload(ctx context.Context, out sample) error {
	config, err := w.adminGet(ctx, "/config/")
	if err != nil {
		return err
	}
	if !json.Valid([]byte(config)) {
		return fmt.Errorf("the configuration that Caddy returns is no JSON: %q", config)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/load", strings.NewReader(config))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Cache-Control", "must-revalidate") // even if nothing has changed
	before, _ := w.cpu()
	start := time.Now()
	response, err := w.admin.Do(request)
	if err != nil {
		return fmt.Errorf("reloading: %w", err)
	}
	_ = response.Body.Close()
	out["reload"] = milliseconds(time.Since(start))
	after, _ := w.cpu()
	out["reload_cpu"] = milliseconds(after - before)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("reloading: status %d", response.StatusCode)
	}
	_, err = w.adminGet(ctx, "/ssh_tunnel/ready") // none was lost
	return err
}

// proportionalMemory returns the memory of processes in bytes. What several
// share is split among them: hundreds of ssh are one program. It is false where
// /proc does not tell.
func proportionalMemory(pids []int) (float64, bool) {
	total, known := 0.0, false
	for _, pid := range pids {
		if kilobytes, ok := parsePss(readFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))); ok {
			total, known = total+kilobytes*1024, true
		}
	}
	return total, known
}

// parsePss finds the line "Pss: <n> kB" of smaps_rollup.
func parsePss(content string) (kilobytes float64, ok bool) {
	for line := range strings.Lines(content) {
		if _, err := fmt.Sscanf(line, "Pss: %f kB", &kilobytes); err == nil {
			return kilobytes, true
		}
	}
	return 0, false
}
