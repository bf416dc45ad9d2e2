//go:build unix

package pool

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestServerOutOfFiles: sshd says "open failed" of a target that is well, once
// it has no more files for the connection. The channel opens on another one,
// and those to come go there at once.
func TestServerOutOfFiles(t *testing.T) {
	t.Parallel()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{MaxFiles: 100})
	cfg := configFor(t, s.ClientKey, "", s.Addr())
	cfg.User, cfg.HostKeys, cfg.KnownHosts = s.User, nil, []string{s.KnownHostsFile()}
	set := quick()
	set.MaxConnections = 3
	h := open(t, cfg, set)
	addr := listen(t, echo)
	var conns []*Conn
	for range 200 {
		conns = append(conns, openOf(t, h, Request, addr))
	}
	for _, c := range conns {
		roundTrip(t, c)
	}
	links := connections(t, h, 3)
	h.mu.Lock()
	for _, m := range links[:2] {
		if m.limit >= 100 || m.channels < m.limit {
			t.Errorf("a connection has %d channels of %d", m.channels, m.limit)
		}
	}
	h.mu.Unlock()

	// When the last is at its end as well, the error says what sshd does.
	var err error
	for range 200 {
		var c *Conn
		if c, err = h.Dial(t.Context(), Target{Network: "tcp", Address: addr}); err != nil {
			break
		}
		conns = append(conns, c)
	}
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	refused, isRefused := errors.AsType[*failure.OpenError](err)
	full, isFull := errors.AsType[*failure.FullError](err)
	if !isRefused && !isFull || isRefused && refused.Reason != failure.OpenFailed {
		t.Errorf("got %v (%v, %v)", err, refused, full)
	}
}

// TestTargetThatFails: what is the target's fault is not taken for the
// connection's, and costs no connection.
func TestTargetThatFails(t *testing.T) {
	t.Parallel()
	s, h := sshdTunnel(t, quick(), "")
	addr := listen(t, echo)
	for range fewChannels + 1 {
		openOf(t, h, Request, addr)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	for _, target := range []Target{
		{Network: "tcp", Address: ln.Addr().String()},
		{Network: "tcp", Address: "no-such-host.invalid:80"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), sshtest.Patience)
		_, err := h.Dial(ctx, target)
		cancel()
		if _, ok := errors.AsType[*failure.OpenError](err); !ok {
			t.Errorf("target %q: %v", target.Address, err)
		}
	}
	// Of a socket that is not there sshd says no more than "open failed".
	_, err = h.Dial(t.Context(), Target{Network: "unix", Address: "/no/such/socket"})
	if refused, ok := errors.AsType[*failure.OpenError](err); !ok || refused.Reason != failure.OpenFailed || !strings.Contains(err.Error(), "no such socket") {
		t.Errorf("got %v", err)
	}
	m := connections(t, h, 1)[0]
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.limit != maxChannels {
		t.Errorf("the connection takes %d channels", m.limit)
	}
	if n := s.Logins(); n > 2 {
		t.Errorf("%d logins", n)
	}
}
