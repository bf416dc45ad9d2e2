//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	grpcstatus "google.golang.org/grpc/status"
)

// matrix_test.go breaks everything while anything is in flight, which takes long
// and runs only where it is asked for: FAULTS=all does all of it, FAULTS=short a
// few, each alone, and FAULTS=<regexp> those whose "fault / traffic" matches.

// The few are those that have found something.
const chosenFaults = `^(sshd killed and started / local_forward|link frozen from the bastion / (gRPC stream|proxy_jump)|` +
	`link cut \(FIN\) / download, no framing|bastion has another host key, then the old one / bind|` +
	`sshd's sessions short of files, link cut / WebSocket|caddy reload, another user / SNI passthrough)$`

// What goes on while a fault holds.
const (
	nothing = iota
	aReload
	aStop
)

// row is one fault with one kind in flight.
type row struct {
	fault, traffic string
	saw            string // what the client saw
	longest        time.Duration
	back           time.Duration
	before, after  counts
	meanwhile      [3]string // how it went without, with a reload and with a stop meanwhile
}

func TestFaults(t *testing.T) {
	choice, alone, all := os.Getenv("FAULTS"), false, false
	switch choice {
	case "":
		t.Skip("set FAULTS; see make faults")
	case "short":
		choice, alone = chosenFaults, true
	case "all":
		choice, all = "", true
	}
	chosen := regexp.MustCompile(choice)
	var mu sync.Mutex
	rows := make(map[string]*row)
	start := time.Now()
	t.Run("with", func(t *testing.T) {
		for _, k := range trafficKinds {
			var faults []*fault
			for _, f := range faultKinds {
				if f.concerns(k) && chosen.MatchString(f.name+" / "+k.name) {
					faults = append(faults, f)
				}
			}
			if len(faults) == 0 {
				continue
			}
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				m := newMatrix(t, k)
				for _, f := range faults {
					r := m.cell(f, nothing)
					if !alone && !f.stops {
						r.meanwhile[aReload] = m.cell(f, aReload).meanwhile[aReload]
						r.meanwhile[aStop] = m.cell(f, aStop).meanwhile[aStop]
					}
					mu.Lock()
					rows[f.name+k.name] = r
					mu.Unlock()
				}
			})
		}
	})
	if dir := os.Getenv("RELIABILITY"); dir != "" {
		reportMatrix(t, filepath.Join(dir, "matrix.md"), rows, all, time.Since(start))
	}
}

// matrix is a rig for one kind of traffic.
type matrix struct {
	*rig
	k     *traffic
	limit counts // at rest, from the start
}

func newMatrix(t *testing.T, k *traffic) *matrix {
	t.Helper()
	m := &matrix{rig: newRig(t, k), k: k}
	m.served()
	m.limit = m.settle()
	// Of the heap, what pools and caches keep of the traffic.
	m.limit.heap += 24 << 20
	return m
}

// served waits until the kind is served.
func (m *matrix) served() {
	m.t.Helper()
	waitFor2(m.t, m.k.name+" is served", func() bool {
		o := new(operation)
		m.operate(m.k, o)
		return o.err == nil
	})
}

func waitFor2(t *testing.T, what string, isSo func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * patience); !isSo(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// probes are short operations, one begun after the other, whether the one before
// has ended or not.
type probes struct {
	mu   sync.Mutex
	all  []*operation // that have ended
	stop chan struct{}
	wg   sync.WaitGroup
}

func (m *matrix) probe() *probes {
	p := &probes{stop: make(chan struct{})}
	// Returns when it is stopped.
	p.wg.Go(func() {
		for {
			p.wg.Go(func() {
				o := new(operation)
				m.operate(m.k, o)
				p.mu.Lock()
				defer p.mu.Unlock()
				p.all = append(p.all, o)
			})
			select {
			case <-p.stop:
				return
			case <-time.After(250 * time.Millisecond):
			}
		}
	})
	return p
}

// first returns the first that has ended so, of those begun after a time.
func (p *probes) first(since time.Time, how outcome) *operation {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.all {
		if o.start.After(since) && o.outcome() == how {
			return o
		}
	}
	return nil
}

// since returns how many that began after a time have ended.
func (p *probes) since(t time.Time) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.all {
		if o.start.After(t) {
			n++
		}
	}
	return n
}

// until waits for something, and reports whether it has come.
func until(limit time.Duration, isSo func() bool) bool {
	for deadline := time.Now().Add(limit); !isSo(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// cell is one fault, with something else meanwhile.
func (m *matrix) cell(f *fault, meanwhile int) *row {
	r := &row{fault: f.name, traffic: m.k.name, before: m.count()}
	var bad []string
	fail := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }

	ops, done := m.inFlight(m.k, 3, 4*time.Second)
	ended := make(chan struct{})
	go func() { // until they have ended, which the bound sees to
		done()
		close(ended)
	}()
	haveEnded := func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}

	undo := f.start(m.rig)
	struck := time.Now()
	probing := m.probe()
	switch meanwhile {
	case aReload:
		time.Sleep(300 * time.Millisecond)
		if f.deaf {
			m.loadOrGiveUp(m.config(), f.holds)
		} else if err := m.load(m.config()); err != nil {
			fail("reload: %v", err)
		}
	case aStop:
		time.Sleep(300 * time.Millisecond)
		if f.deaf {
			m.stop(gracePeriod + slack)
		} else {
			m.halt()
		}
	}
	if f.holds > 0 {
		time.Sleep(f.holds)
	} else {
		time.Sleep(holdAtLeast)
		until(holdAtMost, func() bool {
			return haveEnded() && (!f.down || meanwhile != nothing || probing.first(struck, failed) != nil || probing.first(struck, cut) != nil)
		})
	}
	undo()
	undone := time.Now()
	if meanwhile == aStop {
		m.start(m.config())
		undone = time.Now()
	}

	// Service is back with the first that began now and is served.
	limit := f.back
	if limit == 0 {
		limit = soonBack
	}
	var first *operation
	if until(limit, func() bool { first = probing.first(undone, whole); return first != nil }) {
		r.back = first.start.Add(first.took).Sub(undone)
		// What comes after it is served too.
		back := time.Now()
		until(bound, func() bool { return probing.since(back) >= 5 })
		if late := probing.first(back, failed); late != nil {
			fail("failed %v after service was back: %v", late.start.Sub(undone).Round(time.Millisecond), late.err)
		}
	} else {
		fail("service is not back %v after the fault was undone", limit)
		r.back = -1
	}
	close(probing.stop)
	probing.wg.Wait()
	<-ended
	if f.down && meanwhile == nothing && !strings.Contains(f.waits, m.k.name) && !slices.ContainsFunc(ops, hasFailed) && probing.first(struck, failed) == nil && probing.first(struck, cut) == nil {
		fail("nobody has noticed the fault")
	}

	r.saw = m.judge(f, meanwhile, ops, probing.all, fail)
	for _, o := range slices.Concat(ops, probing.all) {
		r.longest = max(r.longest, o.took-o.lasts)
	}
	// Connections that were opened because of the fault go after a minute.
	if !until(100*time.Second, func() bool {
		r.after = m.count()
		if r.after.within(m.limit) {
			return true
		}
		time.Sleep(200 * time.Millisecond)
		return false
	}) {
		fail("left behind")
		m.t.Log(m.leftBehind(m.limit))
	}
	r.meanwhile[meanwhile] = "ok"
	if len(bad) > 0 {
		r.meanwhile[meanwhile] = "**" + strings.Join(bad, "; ") + "**"
		m.t.Errorf("%s / %s (%s): %s\n%s", f.name, m.k.name, []string{"plain", "reload", "stop"}[meanwhile], strings.Join(bad, "\n"), r.saw)
	}
	m.t.Logf("%s / %s (%d): back %v, longest %v, %+v to %+v: %s", f.name, m.k.name, meanwhile, r.back, r.longest, r.before, r.after, r.saw)
	return r
}

func hasFailed(o *operation) bool { return o.outcome() == failed || o.outcome() == cut }

// judge says what the clients saw, and what they must not have seen.
func (m *matrix) judge(f *fault, meanwhile int, inFlight, fresh []*operation, fail func(string, ...any)) string {
	var saw []string
	for name, ops := range map[string][]*operation{"in flight": inFlight, "new": fresh} {
		seen := make(map[string]int)
		for _, o := range ops {
			text := "whole"
			switch o.outcome() {
			case whole:
			case failed:
				text = errorWord(o.err)
				// Caddy itself drops a connection whose first request it has not
				// read when it is reloaded; that is so without this module, too. An
				// upload moves before that.
				if reloads := meanwhile == aReload || strings.Contains(f.name, "caddy reload"); reloads && name == "new" && (!o.moved.Load() || m.k.name == "upload") &&
					(text == "reset" || text == "cut off") && !strings.HasSuffix(m.k.name, "_forward") && seen["dropped by the reload"] == 0 {
					text = "dropped by the reload"
					break
				}
				// A stop cuts what its grace period is too short for; a site that
				// moves from one user's connection to another's is away between.
				if f.harmless && meanwhile != aStop && (!strings.Contains(fromThere, m.k.name) || name != "new" || !strings.Contains(f.name, "another user")) {
					fail("%s: disturbed: %v", name, o.err)
				}
			case cut:
				text = "ended by the target"
				if !f.byTarget || !m.k.raw {
					text = "CUT"
					fail("%s: cut short, without an error: %v", name, o.err)
				}
			case corrupt:
				text = "WRONG"
				fail("%s: wrong: %v", name, o.err)
			case hung:
				text = "HUNG"
				fail("%s: hung for %v: %v", name, o.took, o.err)
			}
			seen[text]++
		}
		var parts []string
		for _, text := range slices.Sorted(maps.Keys(seen)) {
			parts = append(parts, fmt.Sprintf("%d %s", seen[text], text))
		}
		saw = append(saw, name+": "+strings.Join(parts, ", "))
	}
	slices.Sort(saw)
	return strings.Join(saw, "; ")
}

// errorWord says in a word which error a client got.
func errorWord(err error) string {
	if answer, ok := errors.AsType[statusError](err); ok {
		return answer.Error()
	}
	if s, ok := grpcstatus.FromError(err); ok {
		return s.Code().String()
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "cut off"
	case isTimeoutError(err):
		return "timed out"
	}
	return "failed: " + err.Error()
}
