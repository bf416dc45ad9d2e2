package pool

import (
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
)

// host is a bastion that a pool may connect to.
type host struct {
	*connect.Host
	// logged bounds the failures in the log.
	logged loglimit.Limiter
	// attempt is the last one to connect to it, or nil. It is guarded by Pool.mu.
	attempt *connect.Attempt
}

// loginWith returns the host's login under settings.
func (h *host) loginWith(set Settings) connlimit.Login { return h.Login(set.pace()) }

// attemptState is what an attempt to connect depends on.
func (p *Pool) attemptState() connect.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return connect.State{
		Pace: p.set.pace(), Logger: p.set.Logger, KeyMemory: p.set.KeyMemory, KeyStore: p.set.KeyStore,
		Demand: p.retry.demand, Served: len(p.active()) > 0,
	}
}

// eligible returns the hosts that the next connection may be to. All connections
// are to one host: what a channel leads to, or the bastion listens on, is that
// host's. The caller holds mu.
func (p *Pool) eligible() []*host {
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
func (p *Pool) due(asked bool) (at time.Time, refused bool) {
	for i, h := range p.eligible() {
		hostAt, hostRefused := h.Limiter.Due(h.loginWith(p.set), connlimit.Demand{Dials: asked, Forced: p.retry.demand.Forced})
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
// that would refuse us again, unless all would.
func (p *Pool) hostsToTry() (try []*connect.Host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.eligible() {
		if h.Limiter.WorthTrying(h.loginWith(p.set), p.retry.demand) {
			try = append(try, h.Host)
		}
	}
	if len(try) == 0 {
		for _, h := range p.eligible() {
			try = append(try, h.Host)
		}
	}
	return try
}

// lastError is how the last attempts at the hosts have failed, or nil. The caller
// holds mu.
func (p *Pool) lastError() error {
	var failed hostErrors
	for _, h := range p.hosts {
		if _, err := h.Limiter.Last(h.loginWith(p.set)); err != nil {
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
	if at, _ := h.Limiter.Due(login, connlimit.Demand{}); !time.Now().Before(at) {
		return nil
	}
	_, err := h.Limiter.Last(login)
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
func (p *Pool) hostLog(h *host) *zap.Logger { return p.logAbout(h.Address) }

// logAbout is log with another address.
func (p *Pool) logAbout(address string) *zap.Logger {
	return p.settings().Logger.With(zap.String("tunnel", p.cfg.Name), zap.String("address", address))
}

// earlier returns the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
