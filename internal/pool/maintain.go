package pool

import (
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/renewal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// memoryPoll is how often a refused tunnel looks whether a learned host key has
// been forgotten.
const memoryPoll = 2 * time.Second

// wanted reports whether maintain should get a connection. The caller holds mu.
func (p *Pool) wanted() bool {
	switch {
	case p.ctx.Err() != nil:
		return false
	case len(p.active()) > 0:
		_, why := p.wantedClass()
		return why != "" || p.toReplace() != nil
	case !p.mayAdd():
		return false
	default:
		return p.retry.demand.Dials || p.forwards.Wanted() || len(p.configured) > 0 && !p.set.Lazy && !p.history.unused.onDemand
	}
}

// wake makes maintain check what is wanted. The caller holds mu.
func (p *Pool) wake() {
	if !p.running && p.wanted() {
		p.running = true
		if !p.watching {
			p.watching = true
			go renewal.Watch(p.ctx, &p.cfg, renewed{p}, p.certified)
		}
		go p.maintain()
		return
	}
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// maintain gets the pool a connection, for as long as one is wanted. It
// returns when none is: there is one, nobody asks, or the pool has ended.
func (p *Pool) maintain() {
	for p.awaitTurn() {
		start := time.Now()
		c, failed := p.connector.Connect(p.ctx, p.hostsToTry())
		if c == nil {
			p.recordFailures(failed, "")
			p.connectFailed(slices.ContainsFunc(failed, func(f connect.Failure) bool { return !f.Shared }))
			continue
		}
		m := p.newMember(c)
		c.Start(m)
		p.recordFailures(failed, c.Host.Address)
		p.connected(m, time.Since(start))
	}
}

// awaitTurn waits until it is time for an attempt to connect, and tells
// whether one is still wanted.
func (p *Pool) awaitTurn() bool {
	for {
		p.mu.Lock()
		if !p.wanted() {
			p.running = false
			p.mu.Unlock()
			return false
		}
		due, refused := p.due(p.retry.demand.Dials)
		hosts := p.eligible()
		p.retry.at = due
		// Dials are not to wait for an attempt that is not due for a failure.
		untold := p.retry.state == retryPending && len(p.active()) == 0
		p.mu.Unlock()

		wait := time.Until(due)
		if wait <= 0 {
			return true
		}
		if refused {
			changed := false
			for _, h := range hosts {
				changed = p.connector.FilesChanged(p.ctx, h.Host) || changed
			}
			if changed {
				continue
			}
			wait = min(wait, p.refusedPoll())
		}
		if untold && p.shareFailures(hosts) {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.woken:
		case <-p.ctx.Done():
		}
		timer.Stop()
	}
}

// refusedPoll is how often a refused tunnel looks itself whether what it depends
// on has changed. package renewal wakes it when a file has; but nobody does when a
// learned host key is forgotten, or a secret changes that is in no file of ours.
func (p *Pool) refusedPoll() time.Duration {
	if p.cfg.AcceptNewHostKey && p.settings().KeyMemory != nil {
		return memoryPoll
	}
	return renewal.Recheck
}

// shareFailures takes the failures of other tunnels' attempts for an outcome, if
// this tunnel's would be the same and is not due. It reports whether there are any.
func (p *Pool) shareFailures(hosts []*host) bool {
	var failed []connect.Failure
	set := p.settings()
	for _, h := range hosts {
		if f := h.SharedFailure(set.pace()); f.Err != nil {
			failed = append(failed, f)
		}
	}
	if len(failed) == 0 {
		return false
	}
	p.recordFailures(failed, "")
	p.connectFailed(false)
	return true
}

// connected puts a new connection into service.
func (p *Pool) connected(m *member, took time.Duration) {
	m.host.logged.Over()
	p.counters.Logins.Observe(m.attempt.LoginTime().Seconds())
	p.noteAttempt(m.host, m.attempt)
	msg, more := p.takeOver(m)
	if msg != "" {
		for _, o := range p.superseded() {
			p.reportLost(o, printable.Error(o.client.Cause()))
		}
		p.reports.Add(func() {
			fields := slices.Concat([]zap.Field{zap.Duration("duration", took)}, m.about, more)
			p.log().Log(p.reports.FollowUp(zap.InfoLevel, m.client.Age()), msg, fields...)
			m.attempt.Remark(&p.cfg, m.host.Address, p.counters.First, p.hostLog(m.host))
			if msg == "connected" || msg == "reconnected" {
				p.emit(report.EventConnected, m.host.Address, append(fields, zap.Bool("reconnected", msg == "reconnected"))...)
			}
		})
	}
	m.watchCertificates()
	go m.watch() // not before: the connection may have died already, which is reported after it
	p.reports.Deliver()
}

// noteAttempt records an attempt to connect to a host, if it was made.
func (p *Pool) noteAttempt(h *host, a *connect.Attempt) {
	if a == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h.attempt = a
	if a.Failed != "" {
		p.history.lastErr = &report.ErrorStatus{Time: time.Now(), Host: a.Host, Cause: a.Cause, Error: a.Error}
	}
}

// noteShared records an error that another tunnel's attempt has ended with.
func (p *Pool) noteShared(f connect.Failure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history.lastErr = &report.ErrorStatus{Time: time.Now(), Host: f.Host.Address, Cause: failure.CauseOf(f.Err), Error: f.Err.Error()}
}

// recordFailures records why attempts failed. They came before a connection to instead,
// unless that is "".
func (p *Pool) recordFailures(failed []connect.Failure, instead string) {
	if p.ctx.Err() != nil {
		return
	}
	for _, f := range failed {
		h := p.hosts[f.Host.Rank]
		log := p.hostLog(h)
		if instead != "" {
			log = log.With(zap.String("instead", instead))
		}
		if f.Shared {
			log = log.With(zap.Bool("shared", true))
			p.noteShared(f)
		} else {
			p.counters.ConnectFailed(failure.CauseOf(f.Err))
			p.noteAttempt(h, f.Attempt)
		}
		logged := h.logFailure(log, f) // before the requests that fail for it
		if logged {
			p.reports.Logged() // and so is its end
		}
		if logged && failure.ClassOf(f.Err) == failure.ClassRefused {
			p.emit(report.EventRefused, h.Address, zap.Error(f.Err), zap.String("cause", string(failure.CauseOf(f.Err))),
				zap.Int("attempt", f.N), zap.Duration("retry_in", f.Delay))
		}
	}
}

// connectFailed wakes everybody who waits: there is no new connection. An
// attempt that was made is what a person has demanded.
func (p *Pool) connectFailed(made bool) {
	if p.ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.lastError()
	if len(p.active()) > 0 {
		err = nil // one more, or a replacement; there are others that serve
	}
	p.retry.failed(err, made)
	p.growth.attempted(err == nil)
	p.history.unused.failed()
	p.stay()
	p.retry.at, _ = p.due(false)
	p.broadcast()
}

// logFailure logs that an attempt to connect to a host has failed, and reports whether
// above debug. The first failure of each kind and a reminder now and then are.
func (h *host) logFailure(log *zap.Logger, f connect.Failure) bool {
	level := zap.WarnLevel
	if _, ok := errors.AsType[*failure.HostKeyError](f.Err); ok {
		level = zap.ErrorLevel
	}
	level, _ = h.logged.Level(level, loglimit.Kind(f.Err), 1)
	log.Log(level, "connecting failed; will retry", zap.Error(f.Err), zap.String("cause", string(failure.CauseOf(f.Err))),
		zap.Int("attempt", f.N), zap.Duration("retry_in", f.Delay.Round(time.Millisecond)))
	return level > zap.DebugLevel
}
