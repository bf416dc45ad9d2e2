package tunnel

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// host is a bastion that a pool may connect to.
type host struct {
	// cfg is the pool's, with the host's own address.
	cfg Config
	// rank is its place in the order of preference, from 0.
	rank int
	// limiter limits the connects to it.
	limiter *connlimit.Limiter
	// login is how it is logged in at, apart from the settings; see pool.login.
	login connlimit.Login
	// memory is which keys it accepts.
	memory sshauth.Memory

	// logged bounds the failures in the log.
	logged loglimit.Limiter
	// passedOver says that the host was not waited for the last time, since others
	// had failed. It is maintain's, of which there is one at a time.
	passedOver bool

	// attempt is the last one to connect to it, or nil. It is guarded by
	// pool.mu.
	attempt *Attempt
}

// newHosts returns the bastions of cfg, which are reached through the tunnel
// that jump is a handle on, unless that is nil. The connect limiters send to wake.
func newHosts(cfg Config, jump *Handle, wake chan struct{}) []*host {
	addresses := cfg.Addresses()
	cfg.Fallbacks = nil
	jumpKey := ""
	if jump != nil {
		jumpKey = jump.key
	}
	hosts := make([]*host, len(addresses))
	for i, address := range addresses {
		h := &host{cfg: cfg, rank: i}
		h.cfg.Address = address
		h.limiter = connlimit.Get(strings.ToLower(address)+cfg.wayTo(jump), wake)
		h.login = h.cfg.login(jumpKey)
		hosts[i] = h
	}
	return hosts
}

// Addresses are those of all bastions, in order of preference.
func (cfg *Config) Addresses() []string {
	return append([]string{cfg.Address}, cfg.Fallbacks...)
}

// eligible returns the hosts that the next connection may be to. All connections
// are to one host: what a channel leads to, or the bastion listens on, is that
// host's. The caller holds mu.
func (p *pool) eligible() []*host {
	switch {
	case len(p.active()) == 0:
		return p.hosts
	case p.failback.state == failbackReturning && p.toReplace() != nil:
		return []*host{p.failback.to}
	default:
		return []*host{p.failback.inUse}
	}
}

// due returns when the next attempt may start, as connlimit.Limiter.Due does: when one of the
// eligible hosts is due. It reports whether one of them has refused us. The caller
// holds mu.
func (p *pool) due(asked bool) (at time.Time, refused bool) {
	for i, h := range p.eligible() {
		hostAt, hostRefused := h.limiter.Due(h.loginWith(p.set), connlimit.Demand{Dials: asked, Forced: p.retry.demand.Forced})
		if i == 0 || hostAt.Before(at) {
			at = hostAt
		}
		refused = refused || hostRefused
	}
	if !asked && at.Before(p.retry.notBefore) {
		at = p.retry.notBefore
	}
	return at, refused
}

// hostsToTry returns which of the eligible hosts an attempt is for: not those
// that would refuse us again.
func (p *pool) hostsToTry() []*host {
	p.mu.Lock()
	defer p.mu.Unlock()
	hosts := p.eligible()
	try := slices.DeleteFunc(slices.Clone(hosts), func(h *host) bool {
		return !h.limiter.WorthTrying(h.loginWith(p.set), p.retry.demand)
	})
	if len(try) == 0 {
		return hosts
	}
	return try
}

// lastError is how the last attempts at the hosts have failed, or nil. The caller
// holds mu.
func (p *pool) lastError() error {
	var failed hostErrors
	for _, h := range p.hosts {
		if _, err := h.limiter.Last(h.loginWith(p.set)); err != nil {
			failed = append(failed, err)
		}
	}
	switch {
	case len(failed) == 0:
		return nil
	case len(p.hosts) == 1:
		return failed[0]
	default:
		return failed
	}
}

// pendingFailure returns the failure that the next attempt waits for, or nil.
func (h *host) pendingFailure(set Settings) error {
	login := h.loginWith(set)
	if at, _ := h.limiter.Due(login, connlimit.Demand{}); !time.Now().Before(at) {
		return nil
	}
	_, err := h.limiter.Last(login)
	return err
}

// hostErrors is why none of several hosts can be connected to. Each error names
// its host.
type hostErrors []error

func (e hostErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return "no host can be connected to: " + strings.Join(texts, "; ")
}

func (e hostErrors) Unwrap() []error { return e }

// hostLog is log with another host's address.
func (p *pool) hostLog(h *host) *zap.Logger { return p.logAbout(h.cfg.Address) }

// logAbout is log with another address.
func (p *pool) logAbout(address string) *zap.Logger {
	return p.settings().Logger.With(zap.String("tunnel", p.cfg.Name), zap.String("address", address))
}

// earlier returns the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// hostFailure is an attempt to connect to a host that has failed.
type hostFailure struct {
	host *host
	err  error
	// attempt is the record of it, or nil if the host was not connected to.
	attempt *Attempt
	// n is how many there were in a row, delay the time until the next.
	n     int
	delay time.Duration
	// shared says that another tunnel has made the attempt, which this one shares
	// the outcome of.
	shared bool
}

// noAnswerError is the error of a host that was not waited for any longer.
func noAnswerError(h *host) error {
	return failure.New(failure.ClassNetwork, failure.CauseNotWaitedFor, fmt.Errorf("connecting to %q: no answer, and not waited for as there are other hosts", h.cfg.Address))
}

// slowLoginError is the error of a host whose login was not waited for any longer.
func slowLoginError(h *host) error {
	return failure.New(failure.ClassProtocol, failure.CauseNotWaitedFor, fmt.Errorf("connecting to %q: the login made no progress for %s, and another host was quicker", h.cfg.Address, silence))
}
