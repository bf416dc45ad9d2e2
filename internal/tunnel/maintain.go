package tunnel

import (
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// memoryPoll is how often a refused tunnel looks whether a learned host key has
// been forgotten.
const memoryPoll = 2 * time.Second

// wanted tells whether maintain should get a connection. The caller holds mu.
func (e *entry) wanted() bool {
	switch {
	case e.ctx.Err() != nil:
		return false
	case len(e.active()) > 0:
		r, _ := e.wantedRole()
		return r != undecided || e.toReplace() != nil
	case !e.mayAdd():
		return false
	default:
		return e.retry.demand.Dials || e.forwarding() || len(e.handles) > 0 && !e.set.Lazy && !e.unused.onDemand
	}
}

// nudge has maintain look at what is wanted. The caller holds mu.
func (e *entry) nudge() {
	if !e.running && e.wanted() {
		e.running = true
		if !e.watching {
			e.watching = true
			go e.watchFiles()
		}
		go e.maintain()
		return
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// maintain gets the entry a connection, for as long as one is wanted. It
// returns when none is: there is one, nobody asks, or the entry has ended.
func (e *entry) maintain() {
	for e.awaitTurn() {
		start := time.Now()
		l, failed := e.connect(e.hostsToTry())
		e.recordFailures(failed, l)
		if l == nil {
			e.connectFailed(slices.ContainsFunc(failed, func(f hostFailure) bool { return !f.shared }))
			continue
		}
		e.connected(l, time.Since(start))
	}
}

// awaitTurn waits until it is time for an attempt to connect, and tells
// whether one is still wanted.
func (e *entry) awaitTurn() bool {
	for {
		e.mu.Lock()
		if !e.wanted() {
			e.running = false
			e.mu.Unlock()
			return false
		}
		due, refused := e.due(e.retry.demand.Dials)
		hosts, set := e.eligible(), e.set
		e.retry.at = due
		// Dials are not to wait for an attempt that is not due for a failure.
		untold := e.retry.state == retryPending && len(e.active()) == 0
		e.mu.Unlock()

		wait := time.Until(due)
		if wait <= 0 {
			return true
		}
		if refused {
			changed := false
			for _, h := range hosts {
				changed = h.limiter.FilesChanged(h.loginWith(set), e.stamps(h)) || changed
			}
			if changed {
				continue
			}
			wait = min(wait, e.refusedPoll())
		}
		if untold && e.shareFailures(hosts) {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.wake:
		case <-e.ctx.Done():
		}
		timer.Stop()
	}
}

// refusedPoll is how often a refused tunnel looks itself whether what it depends
// on has changed. watchFiles wakes it when a file has; but nobody does when a
// learned host key is forgotten, or a secret changes that is in no file of ours.
func (e *entry) refusedPoll() time.Duration {
	if e.memory() != nil {
		return memoryPoll
	}
	return fileRecheck
}

// shareFailures takes the failures of other tunnels' attempts for an outcome, if
// this tunnel's would be the same and is not due. It tells whether there are any.
func (e *entry) shareFailures(hosts []*host) bool {
	var failed []hostFailure
	set := e.settings()
	for _, h := range hosts {
		if f := h.sharedFailure(set); f.err != nil {
			failed = append(failed, f)
		}
	}
	if len(failed) == 0 {
		return false
	}
	e.recordFailures(failed, nil)
	e.connectFailed(false)
	return true
}

// sharedFailure is how the last attempt has failed that a host's would have shared
// the failure of.
func (h *host) sharedFailure(set Settings) hostFailure {
	l := h.loginWith(set)
	n, err := h.limiter.Last(l)
	due, _ := h.limiter.Due(l, connlimit.Demand{})
	return hostFailure{host: h, err: err, n: n, delay: max(0, time.Until(due)), shared: true}
}

// connected puts a new connection into service.
func (e *entry) connected(l *link, took time.Duration) {
	l.host.logged.Over()
	e.counters.shook(l.attempt.login())
	e.noteAttempt(l.host, l.attempt)
	msg, more := e.takeOver(l)
	if msg != "" {
		for _, o := range e.outlived() {
			e.reportLost(o, printable.Error(o.client.Cause()))
		}
		e.reports.add(func() {
			fields := slices.Concat([]zap.Field{zap.Duration("duration", took)}, l.about, more)
			e.log().Log(e.reports.followUp(zap.InfoLevel, l.client.Age()), msg, fields...)
			e.remark(l)
			if msg == "connected" || msg == "reconnected" {
				e.emit(EventConnected, l.host.cfg.Address, append(fields, zap.Bool("reconnected", msg == "reconnected"))...)
			}
		})
	}
	l.watchCertificates()
	go l.watch() // not before: the link may have died already, which is reported after it
	e.reports.deliver()
}

// noteAttempt records an attempt to connect to a host, if it was made.
func (e *entry) noteAttempt(h *host, a *Attempt) {
	if a == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	h.attempt = a
	if a.Failed != "" {
		e.history.lastErr = &ErrorStatus{time.Now(), a.Host, a.Cause, a.Error}
	}
}

// noteShared records an error that another tunnel's attempt has ended with.
func (e *entry) noteShared(f hostFailure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.history.lastErr = &ErrorStatus{time.Now(), f.host.cfg.Address, failure.CauseOf(f.err), f.err.Error()}
}

// recordFailures records why attempts failed. They came before l, unless that is
// nil.
func (e *entry) recordFailures(failed []hostFailure, l *link) {
	if e.ctx.Err() != nil {
		return
	}
	for _, f := range failed {
		log := e.hostLog(f.host)
		if l != nil {
			log = log.With(zap.String("instead", l.host.cfg.Address))
		}
		if f.shared {
			log = log.With(zap.Bool("shared", true))
			e.noteShared(f)
		} else {
			e.counters.connectFailed(f.err)
			e.noteAttempt(f.host, f.attempt)
		}
		logged := e.logFailure(log, f) // before the requests that fail for it
		if logged {
			e.reports.quiet.Store(false) // and so is its end
		}
		if logged && failure.ClassOf(f.err) == failure.ClassRefused {
			e.emit(EventRefused, f.host.cfg.Address, zap.Error(f.err), zap.String("cause", string(failure.CauseOf(f.err))),
				zap.Int("attempt", f.n), zap.Duration("retry_in", f.delay))
		}
	}
}

// connectFailed has everybody who waits know that there is no new connection. An
// attempt that was made is what a person has demanded.
func (e *entry) connectFailed(made bool) {
	if e.ctx.Err() != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.lastError()
	if len(e.active()) > 0 {
		err = nil // one more, or a replacement; there are others that serve
	}
	e.retry.failed(err, made)
	e.growth.attempted(err == nil)
	e.unused.failed()
	e.stay()
	e.retry.at, _ = e.due(false)
	e.broadcast()
}

// kindOf is an error's text without what differs from one time to the next:
// our port, most of all.
func kindOf(err error) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, err.Error())
}

// logFailure logs that an attempt to connect to a host has failed, and tells whether
// above debug. The first failure of each kind and a reminder now and then are.
func (e *entry) logFailure(log *zap.Logger, f hostFailure) bool {
	level := zap.WarnLevel
	if _, ok := errors.AsType[*failure.HostKeyError](f.err); ok {
		level = zap.ErrorLevel
	}
	level, _ = f.host.logged.Level(level, kindOf(f.err), 1)
	log.Log(level, "connecting failed; will retry", zap.Error(f.err), zap.String("cause", string(failure.CauseOf(f.err))),
		zap.Int("attempt", f.n), zap.Duration("retry_in", f.delay.Round(time.Millisecond)))
	return level > zap.DebugLevel
}
