package statuspage

// record.go samples the tunnels for the charts.

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

const (
	// sampleInterval is how often the tunnels are sampled.
	sampleInterval = 10 * time.Second
	// chartSpan is how far the charts go back.
	chartSpan = 15 * time.Minute
	// maxSamples is how many samples a tunnel has at most. The first one is left of the
	// charts: the rates begin with it.
	maxSamples = int(chartSpan/sampleInterval) + 1
)

// sample is what a tunnel was like at one moment.
type sample struct {
	at time.Time
	// connected is false while the tunnel has no connection and should have one.
	connected bool
	channels  int
	// received and sent count bytes as report.Status does.
	received, sent int64
	// rtt is the round-trip time, or 0 if it is unknown.
	rtt time.Duration
}

// charts are the samples of this process's tunnels.
var charts recorder

// recorder samples tunnels for as long as a configuration has a page that shows them. It
// knows tunnels by their names, as their counters do. So a reload loses no sample: the
// next configuration's page is there before the last one's goes.
type recorder struct {
	// mu guards the fields below. It is not held while a source is asked.
	mu sync.Mutex
	// sources has an app for each page, in the order of their configurations.
	sources []Source
	// samples are by tunnel, the oldest first.
	samples map[string][]sample
	// end ends the goroutine, which there is while there are sources.
	end context.CancelFunc
}

// add makes the recorder sample an app's tunnels, until the returned function is called.
// The first page starts the goroutine. Removing the last one ends it, and drops all
// samples.
func (r *recorder) add(s Source) (remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources = append(r.sources, s)
	if len(r.sources) == 1 {
		var ctx context.Context
		ctx, r.end = context.WithCancel(context.Background())
		go r.run(ctx)
	}
	return sync.OnceFunc(func() { r.remove(s) })
}

func (r *recorder) remove(s Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.sources, s)
	r.sources = slices.Delete(r.sources, i, i+1)
	if len(r.sources) == 0 {
		r.end()
		r.samples = nil
	}
}

// run samples until ctx is done.
func (r *recorder) run(ctx context.Context) {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.record(ctx, time.Now())
		}
	}
}

// record takes a sample of each tunnel. During a reload, two configurations may have the
// same one: the later configuration's counts. It drops the samples of tunnels that are in
// none any more.
func (r *recorder) record(ctx context.Context, now time.Time) {
	r.mu.Lock()
	sources := slices.Clone(r.sources)
	r.mu.Unlock()
	latest := make(map[string]sample)
	for _, s := range sources {
		for _, t := range s.TunnelStatus() {
			latest[t.Tunnel] = sampleOf(&t, now)
		}
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return // the last page has just gone
	}
	kept := make(map[string][]sample, len(latest))
	for name, s := range latest {
		samples := append(r.samples[name], s)
		kept[name] = slices.Delete(samples, 0, max(0, len(samples)-maxSamples))
	}
	r.samples = kept
}

// sampleOf returns what a chart shows of a status.
func sampleOf(s *adminapi.Status, now time.Time) sample {
	return sample{
		at: now, connected: s.State == report.StateUp || s.State == report.StateIdle,
		channels: s.Channels, received: s.Received, sent: s.Sent, rtt: s.RTT.Duration(),
	}
}

// history returns the samples of a tunnel, the oldest first.
func (r *recorder) history(name string) []sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.samples[name])
}
