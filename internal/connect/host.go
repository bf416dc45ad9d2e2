package connect

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// Host is a bastion that a tunnel may connect to.
type Host struct {
	// Address is its "host:port".
	Address string
	// Rank is its place in the order of preference, from 0.
	Rank int
	// Limiter limits the connects to it.
	Limiter *connlimit.Limiter

	// cfg is the tunnel's, with the host's own address.
	cfg Config
	// login is how it is logged in at, apart from the pace; see Login.
	login connlimit.Login
	// memory is which keys it accepts.
	memory sshauth.Memory
	// passedOver says that the host was not waited for the last time, since others had
	// failed. It is Connect's.
	passedOver bool
}

// newHosts returns the bastions of cfg. The connect limiters send to wake.
func newHosts(cfg Config, jump *Jump, wake chan struct{}) []*Host {
	addresses := cfg.Addresses()
	cfg.Fallbacks = nil
	jumpKey := ""
	if jump != nil {
		jumpKey = jump.Key
	}
	hosts := make([]*Host, len(addresses))
	for i, address := range addresses {
		h := &Host{Address: address, Rank: i, cfg: cfg}
		h.cfg.Address = address
		h.Limiter = connlimit.Get(strings.ToLower(address)+cfg.wayTo(jump), wake)
		h.login = h.cfg.login(jumpKey)
		hosts[i] = h
	}
	return hosts
}

// Failure is an attempt to connect to a host that has failed.
type Failure struct {
	Host *Host
	Err  error
	// Attempt is the record of it, or nil if the host was not connected to.
	Attempt *Attempt
	// N is how many there were in a row, Delay the time until the next.
	N     int
	Delay time.Duration
	// Shared says that another tunnel has made the attempt, which this one shares the
	// outcome of.
	Shared bool
}

// SharedFailure is how the last attempt has failed that one at this pace would share the
// failure of. Its Err is nil if there is none.
func (h *Host) SharedFailure(pace Pace) Failure {
	l := h.Login(pace)
	n, err := h.Limiter.Last(l)
	due, _ := h.Limiter.Due(l, connlimit.Demand{})
	return Failure{Host: h, Err: err, N: n, Delay: max(0, time.Until(due)), Shared: true}
}

// noAnswerError is the error of a host that was not waited for any longer.
func noAnswerError(h *Host) error {
	return failure.New(failure.ClassNetwork, failure.CauseNotWaitedFor, fmt.Errorf("connecting to %q: no answer, and not waited for as there are other hosts", h.Address))
}

// slowLoginError is the error of a host whose login was not waited for any longer.
func slowLoginError(h *Host) error {
	return failure.New(failure.ClassProtocol, failure.CauseNotWaitedFor, fmt.Errorf("connecting to %q: the login made no progress for %s, and another host was quicker", h.Address, silence))
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
