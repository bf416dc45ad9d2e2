package pool

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestLoginDuration: a login's duration is not that of the way there, of the wait
// for a turn, or of other hosts.
func TestLoginDuration(t *testing.T) {
	t.Parallel()
	m := mortal(t, newTestMember(anyClass, 0, 0))
	m.attempt = &connect.Attempt{Steps: []connect.Step{{Name: connect.StepReach, Took: 30}, {Name: connect.StepBanner, Took: .25}, {Name: connect.StepKeyExchange, Took: .5}, {Name: connect.StepHostKey, Took: 0}, {Name: connect.StepAuthentication, Took: 1}}}
	p := crew(1, 8)
	p.set.Lazy = true
	m.pool, m.host = p, p.failback.inUse
	var logins observations
	p.counters.Logins = &logins
	p.connected(m, time.Minute)
	if !slices.Equal(logins, observations{1.75}) {
		t.Errorf("observed %v", logins)
	}
}

// observations implements prometheus.Observer.
type observations []float64

func (o *observations) Observe(seconds float64) { *o = append(*o, seconds) }

// TestNextRetryWhileUp: the status says when a connection is tried again that is to take
// over from another.
func TestNextRetryWhileUp(t *testing.T) {
	t.Parallel()
	set := quick()
	set.ReconnectMin, set.ReconnectMax = time.Minute, time.Minute
	b := newBench(t, set, nil)
	if err := b.Connect(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if s := b.Status(); s.State != report.StateUp || s.NextRetry != nil {
		t.Errorf("at first: %s, next retry %v", s.State, s.NextRetry)
	}
	b.link.Refuse()
	b.Reconnect()
	sshtest.Eventually(t, 10*time.Second, "a failed attempt", func() bool { return b.Status().LastError != nil })
	if s := b.Status(); s.State != report.StateUp || s.NextRetry == nil || time.Until(*s.NextRetry) < 10*time.Second {
		t.Errorf("after a failure: %s, next retry %v", s.State, s.NextRetry)
	}
	b.link.Accept()
}
