package pool

import (
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
)

// retryState is what dials get while the tunnel has no connection.
//
//	pending --failed--> failed --failed--> failed
//	   ^                  |
//	   +----connected-----+
type retryState int

const (
	// retryPending: no attempt has failed since there was a connection. Dials wait
	// for the one under way.
	retryPending retryState = iota
	// retryFailed: the last attempt has failed. Dials fail with its error, and ask
	// for another attempt.
	retryFailed
)

// retry is when the tunnel connects, and how the last attempt went. Pool.mu guards it.
type retry struct {
	state retryState
	// err is why the last attempt has failed, in retryFailed.
	err error
	// attempts counts those that have failed.
	attempts uint64
	// demand is who wants an attempt.
	demand connlimit.Demand
	// at is when the next attempt is due, after one that has failed.
	at time.Time
	// notBefore is when the first attempt after a loss may start: a moment later, so
	// that the host that was in use has a chance to be it.
	notBefore time.Time
}

// want asks for an attempt on behalf of dials.
func (r *retry) want() { r.demand.Dials = true }

// force asks for an attempt on behalf of a person.
func (r *retry) force() { r.demand = connlimit.Demand{Dials: true, Forced: true} }

// connected ends what there was to wait for.
func (r *retry) connected() { *r = retry{attempts: r.attempts} }

// failed records an attempt that has failed with err; nil if other connections serve.
// One that was made is what a person has forced.
func (r *retry) failed(err error, made bool) {
	r.state, r.err = retryPending, err
	if err != nil {
		r.state = retryFailed
	}
	forced := r.demand.Forced && !made
	r.demand = connlimit.Demand{Dials: forced, Forced: forced}
	r.attempts++
}
