//go:build unix

package tunnel

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// reconfigure has sshd go by other settings, for a connection that is made anew.
func reconfigure(t *testing.T, s *sshtest.SSHD, h *Handle, lines string) {
	t.Helper()
	connections(t, h, 1)
	s.Reconfigure(lines)
	s.KillSessions(syscall.SIGKILL)
	sshtest.Eventually(t, 10*time.Second, "a new connection", func() bool { return s.Logins() == 2 && len(h.entry.activeLinks()) == 1 })
}

// TestReconsider: what sshd permits after a connection was made is dialed, over
// a new connection, and the channels of the old one go on.
func TestReconsider(t *testing.T) {
	t.Parallel()
	s, h := sshdTunnel(t, quick(), "")
	open, closed := listen(t, echo), listen(t, echo)
	reconfigure(t, s, h, "PermitOpen "+open+"\n")
	long := dial(t, h, open)
	roundTrip(t, long)
	prohibited := func() bool {
		_, err := dialFor(t, h, closed, 10*time.Second)
		refused, ok := errors.AsType[*OpenError](err)
		return ok && refused.Reason == OpenProhibited
	}
	if !prohibited() {
		t.Fatal("the target is not prohibited")
	}
	s.Reconfigure("")
	sshtest.Eventually(t, 20*time.Second, "the target is permitted", func() bool { return !prohibited() })
	roundTrip(t, dial(t, h, closed))
	roundTrip(t, long)
	if n := s.Logins(); n > 5 { // two before, one or two to ask, and the new one
		t.Errorf("%d logins", n)
	}
}

// TestReconsiderSeldom: a target that stays prohibited costs few logins, replaces
// nothing and disturbs nobody.
func TestReconsiderSeldom(t *testing.T) {
	t.Parallel()
	open, closed := listen(t, echo), listen(t, echo)
	s, h := sshdTunnel(t, quick(), "PermitOpen "+open+"\n")
	long := dial(t, h, open)
	for start := time.Now(); time.Since(start) < 3*reconsiderMin+reconsiderMin/2; {
		if _, err := dialFor(t, h, closed, 10*time.Second); err == nil {
			t.Fatal("the target is not prohibited")
		}
		roundTrip(t, long)
		time.Sleep(10 * time.Millisecond)
	}
	// After 2 s, and 4 s later.
	if logins := s.Logins(); logins < 2 || logins > 3 {
		t.Errorf("%d logins", logins)
	}
	if links := h.entry.activeLinks(); len(links) != 1 || h.Generation() != 0 {
		t.Errorf("%d connections, generation %d", len(links), h.Generation())
	}
}

// TestReconsiderDue: the time doubles with each answer that is the same.
func TestReconsiderDue(t *testing.T) {
	start := time.Now()
	if got := (reconsidered{}).due(start).Sub(start); got != reconsiderMin {
		t.Errorf("first after %v, want %v", got, reconsiderMin)
	}
	for confirmed, want := range map[int]time.Duration{1: 2 * reconsiderMin, 5: 32 * reconsiderMin, 20: refusedCap, 1e6: refusedCap} {
		r := reconsidered{confirmed: confirmed, asked: start.Add(time.Hour)}
		if got := r.due(start).Sub(r.asked); got != want {
			t.Errorf("after %d answers: %v, want %v", confirmed, got, want)
		}
	}
}

// TestReconsiderSocket: a socket that the bastion's user had no right to, or that
// sshd did not forward to, of which sshd says nothing.
func TestReconsiderSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	s, h := sshdTunnel(t, quick(), "")
	reconfigure(t, s, h, "AllowStreamLocalForwarding no\n")
	dial := func() error {
		c, err := h.Dial(t.Context(), Target{Network: "unix", Address: path})
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	if dial() == nil {
		t.Fatal("it is not prohibited")
	}
	s.Reconfigure("")
	sshtest.Eventually(t, 20*time.Second, "the socket is permitted", func() bool { return dial() == nil })
}

// TestReconsiderAbsent: a socket that is not there for a while is no reason to
// replace a connection.
func TestReconsiderAbsent(t *testing.T) {
	t.Parallel()
	s, h := sshdTunnel(t, quick(), "")
	path := filepath.Join(t.TempDir(), "s")
	r, err := newOpenRequest(Target{Network: "unix", Address: path})
	if err != nil {
		t.Fatal(err)
	}
	old := connections(t, h, 1)[0]
	if h.entry.permittedAnew(old.host, r) || h.entry.permittedOn(old, r) {
		t.Fatal("the socket is there")
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	// It came after the old connection had been asked, and before the new one is.
	h.entry.askAgain(old, r)
	if n := s.Logins(); n != 3 {
		t.Errorf("%d logins, want 3", n)
	}
	if links := connections(t, h, 1); links[0] != old || old.replacing {
		t.Error("the connection is replaced")
	}
}

// TestReconsiderListen: the same for what the bastion is to listen on.
func TestReconsiderListen(t *testing.T) {
	t.Parallel()
	s, h := sshdTunnel(t, quick(), "")
	reconfigure(t, s, h, "AllowTcpForwarding local\n")
	addr := freeAddr(t)
	ln := remote(t, h, "tcp", "localhost:"+port(t, addr))
	serve(t, ln, echoBack)
	sshtest.Eventually(t, 10*time.Second, "the refusal", func() bool {
		h.entry.mu.Lock()
		defer h.entry.mu.Unlock()
		return slices.ContainsFunc(h.entry.links, func(l *link) bool { return l.reconsidered.confirmed > 0 })
	})
	s.Reconfigure("")
	serving(t, "tcp", addr)
}
