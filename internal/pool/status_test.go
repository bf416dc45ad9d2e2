package pool

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
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
