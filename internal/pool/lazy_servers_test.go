//go:build unix

package pool

import (
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// lazily are the settings of a tunnel that disconnects after an hour without use.
func lazily() Settings {
	set := quick()
	set.Lazy, set.LazyTimeout = true, time.Hour
	return set
}

// later is updateLoad, for how long the last channel has ended before it.
func later(p *Pool, unused time.Duration) {
	p.mu.Lock()
	members := p.present()
	p.history.used = time.Now().Add(-unused)
	for _, m := range members {
		m.used = p.history.used
	}
	p.mu.Unlock()
	for _, m := range members {
		p.updateLoad(m)
	}
}

// TestLazyTimeout: a lazy tunnel disconnects from a real sshd once it was not used for so
// long, not before, and connects again for the next channel.
func TestLazyTimeout(t *testing.T) {
	t.Parallel()
	set := lazily()
	logs := observed(&set)
	d, p := sshdTunnel(t, set, "")
	addr := listen(t, echo)
	for n := range 2 {
		c := openOf(t, p, Stream, addr)
		roundTrip(t, c)
		later(p, 2*time.Hour)
		roundTrip(t, c) // a channel is use, though it was opened long ago
		_ = c.Close()
		m := linkOf(c)
		sshtest.Eventually(t, sshtest.Patience, "the channel's end", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return m.channels == 0
		})
		later(p, 59*time.Minute)
		if s := p.Status(); s.State != report.StateUp {
			t.Fatalf("before its time it is %s", s.State)
		}
		later(p, time.Hour)
		if s := p.Status(); s.State != report.StateIdle || time.Since(s.Since) > sshtest.Patience {
			t.Fatalf("after its time it is %s since %s", s.State, s.Since)
		}
		sshtest.Eventually(t, sshtest.Patience, "the end of the connection", func() bool { return len(p.Status().Connections) == 0 })
		if got := logs.FilterMessage("disconnected, since nothing uses the tunnel; will connect on demand").Len(); got != n+1 {
			t.Errorf("the log says %d times that it has disconnected, want %d", got, n+1)
		}
	}
	if n := d.Logins(); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
	if n := logs.FilterMessage("connection lost").Len() + logs.FilterMessage("reconnected").Len(); n != 0 {
		t.Error("the log tells of a loss that was none")
	}
}

// TestLazyTimeoutListens: a lazy tunnel that listens on the bastion, or is to, stays
// connected.
func TestLazyTimeoutListens(t *testing.T) {
	sshtest.Takes(t, time.Second)
	t.Parallel()
	b := newBench(t, lazily(), nil)
	b.bastion.Misbehave(sshtest.Faults{RefuseForwards: true})
	addr := freeAddr(t)
	ln := listenRemote(t, b.Pool, "tcp", addr)
	sshtest.Eventually(t, sshtest.Patience, "a connection", func() bool { return len(b.activeMembers()) == 1 })
	stays := func(when string) {
		t.Helper()
		later(b.Pool, 2*time.Hour)
		if n := len(b.activeMembers()); n != 1 {
			t.Errorf("%s: %d connections", when, n)
		}
	}
	stays("while the bastion refuses to listen")
	b.bastion.Misbehave(sshtest.Faults{})
	serve(t, ln, echoBack)
	serving(t, "tcp", addr)
	stays("while it listens")
	_ = ln.Close()
	sshtest.Eventually(t, sshtest.Patience, "the end of the connection", func() bool {
		later(b.Pool, 2*time.Hour)
		return b.Status().State == report.StateIdle
	})
}

// TestLazyTimeoutReplaced: a connection that takes over from another one is no use of the
// tunnel, and a stream on one that drains is.
func TestLazyTimeoutReplaced(t *testing.T) {
	t.Parallel()
	d, p := sshdTunnel(t, lazily(), "")
	c := openOf(t, p, Stream, listen(t, echo))
	replaced := func(n int) {
		t.Helper()
		old := p.activeMembers()[0]
		p.Reconnect()
		sshtest.Eventually(t, sshtest.Patience, "another connection", func() bool { return d.Logins() == n && old.isDraining() })
	}
	replaced(2)
	later(p, 2*time.Hour)
	roundTrip(t, c)
	if s := p.Status(); s.State != report.StateUp {
		t.Fatalf("with a stream on a connection that drains it is %s", s.State)
	}
	_ = c.Close()
	sshtest.Eventually(t, sshtest.Patience, "the end of the connection that drains", func() bool { return len(p.Status().Connections) == 1 })
	p.mu.Lock()
	p.history.used = time.Now().Add(-2 * time.Hour)
	p.mu.Unlock()
	replaced(3)
	sshtest.Eventually(t, sshtest.Patience, "the end of the last", func() bool { return p.Status().State == report.StateIdle })
}
