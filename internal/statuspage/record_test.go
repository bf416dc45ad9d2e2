package statuspage

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// fakeApp has tunnels of these names, whose bytes say how often it was asked.
type fakeApp struct {
	names []string
	asked int64
}

func (a *fakeApp) TunnelStatus() (all []adminapi.Status) {
	a.asked++
	for _, name := range a.names {
		all = append(all, adminapi.Status{Status: report.Status{Tunnel: name, State: report.StateUp, Received: a.asked}})
	}
	return all
}

// recorded returns how many samples each tunnel has.
func (r *recorder) recorded() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.samples)) {
		all = append(all, fmt.Sprintf("%s:%d", name, len(r.samples[name])))
	}
	return fmt.Sprint(all)
}

// TestRecorder goes through the life of samples: pages come and go with their
// configurations, tunnels come and go, and time passes. The goroutine ends with the last
// page, or the bubble would not end.
func TestRecorder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		want := func(what, want string) {
			t.Helper()
			synctest.Wait()
			if got := r.recorded(); got != want {
				t.Errorf("%s: got %s, want %s", what, got, want)
			}
		}
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }

		removeFirst := r.add(&fakeApp{names: []string{"dev", "prod"}})
		removeAgain := r.add(&fakeApp{names: []string{"dev", "prod"}}) // a second page of it
		want("at first", "[]")
		pass(3*sampleInterval + time.Second)
		want("a while later", "[dev:3 prod:3]")

		// A reload, with another tunnel in place of one.
		second := &fakeApp{names: []string{"prod", "stage"}}
		removeSecond := r.add(second)
		pass(sampleInterval)
		want("during the reload", "[dev:4 prod:4 stage:1]")
		if samples := r.history("prod"); samples[3].received != second.asked {
			t.Error("the later configuration's status does not count")
		}
		removeFirst()
		removeFirst() // has no effect
		removeAgain()
		pass(sampleInterval)
		want("after the reload", "[prod:5 stage:2]")

		pass(2 * chartSpan)
		want("at last", fmt.Sprintf("[prod:%d stage:%d]", maxSamples, maxSamples))
		if first := r.history("prod")[0]; time.Since(first.at) > chartSpan+sampleInterval {
			t.Errorf("the first sample is %v old", time.Since(first.at))
		}
		removeSecond()
		want("without pages", "[]")

		asked := second.asked
		pass(time.Minute)
		if second.asked != asked {
			t.Error("it still asks")
		}
		removeThird := r.add(second)
		pass(sampleInterval + time.Second)
		want("with a page again", "[prod:1 stage:1]")
		removeThird()
	})
}
