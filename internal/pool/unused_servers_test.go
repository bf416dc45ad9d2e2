//go:build unix

package pool

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// unused_servers_test.go ends connections of sshd that nothing uses.

const onDemandMessage = "the bastion closes connections without channels (UnusedConnectionTimeout); will reconnect on demand"

// TestIdleRestarts: each time that sshd restarts the tunnel connects again, though
// nothing has used it, and though it was as long unused each time.
func TestIdleRestarts(t *testing.T) {
	t.Parallel()
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
	cfg.User = d.User
	set := quick()
	logs := observed(&set)
	h := open(t, cfg, set)
	for n := range 4 {
		sshtest.Eventually(t, 20*time.Second, "a connection", func() bool { return d.Logins() == n+1 && len(h.activeMembers()) == 1 })
		h.mu.Lock()
		h.only().used = time.Now().Add(-time.Minute)
		h.mu.Unlock()
		if n < 3 {
			d.Restart()
		}
	}
	if n := logs.FilterMessage(onDemandMessage).Len(); n != 0 {
		t.Error("it blames UnusedConnectionTimeout")
	}
}

// TestUnusedConnectionTimeout: sshd ends connections that nothing uses, and the
// tunnel logs in again only for what needs it.
func TestUnusedConnectionTimeout(t *testing.T) {
	t.Parallel()
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "UnusedConnectionTimeout 11"})
	cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
	cfg.User = d.User
	set := quick()
	logs := observed(&set)
	h := open(t, cfg, set)
	sshtest.Eventually(t, time.Minute, "rest", func() bool { return h.Status().State == report.StateIdle })
	if n := d.Logins(); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
	if n := strings.Count(d.Log(), "terminating inactive connection"); n != 2 {
		t.Errorf("sshd has ended %d connections", n)
	}
	roundTrip(t, mustDial(t, h, listen(t, echo)))
	if n := d.Logins(); n != 3 {
		t.Errorf("%d logins, want 3", n)
	}
	if n := logs.FilterMessage(onDemandMessage).Len(); n != 1 {
		t.Errorf("said %d times", n)
	}
}
