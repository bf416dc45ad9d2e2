package pool

import (
	"sync/atomic"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

const (
	// maxPendingOpens and maxPendingOpensPerTarget bound the opens that a
	// bastion has not answered yet, or has answered too late and not closed:
	// each one holds a file descriptor of sshd's and cannot be cancelled.
	maxPendingOpens          = 256
	maxPendingOpensPerTarget = 64
)

// openLimiter counts the opens that a bastion has not answered yet on one
// connection. Pool.mu guards it.
//
// They are bounded: on one connection, and for each target on all that take new
// channels, to a share of the room that is left. So however many targets do not
// answer, there is room for one that does.
type openLimiter struct {
	total   atomic.Int32 // written under Pool.mu, read by anybody
	targets map[string]*pendingTarget
}

// pendingTarget counts the unanswered opens to one target.
type pendingTarget struct {
	n int
	// answered is when the last answer came, or the first open was sent.
	answered time.Time
}

func newOpenLimiter() *openLimiter {
	return &openLimiter{targets: map[string]*pendingTarget{}}
}

// to returns how many opens to a target are unanswered.
func (p *openLimiter) to(target string) int {
	if t := p.targets[target]; t != nil {
		return t.n
	}
	return 0
}

// take counts an open to the target.
func (p *openLimiter) take(target string) {
	t := p.targets[target]
	if t == nil {
		t = &pendingTarget{answered: time.Now()}
		p.targets[target] = t
	}
	t.n++
	p.total.Add(1)
}

// release counts an open out, its answer having come.
func (p *openLimiter) release(target string) {
	p.total.Add(-1)
	t := p.targets[target]
	t.n--
	t.answered = time.Now()
	if t.n == 0 {
		delete(p.targets, target)
	}
}

// answeredLate notes an answer that nobody waited for. The open counts until its
// channel has ended.
func (p *openLimiter) answeredLate(target string) { p.targets[target].answered = time.Now() }

// pending returns how many opens are unanswered.
func (p *openLimiter) pending() int { return int(p.total.Load()) }

// blames reports whether it is the target's fault that the bastion owes answers to
// opens on a connection: it has not answered anything for a while in which the
// bastion was not silent itself. The caller holds Pool.mu.
func (m *member) blames(target string) bool {
	t := m.opens.targets[target]
	if time.Since(t.answered) < sshconn.StallAfter {
		return false
	}
	if m.client.HeardSince(t.answered) < sshconn.StallAfter {
		m.client.Probe() // it may be the bastion: those who come after the answer know better
		return false
	}
	return true
}
