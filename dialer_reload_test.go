package sshtunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestDialerBeforeStart: a dial waits until the configuration has started, or has ended
// without that.
func TestDialerBeforeStart(t *testing.T) {
	for _, starts := range []bool{true, false} {
		rig := newDialerRig(t, nil)
		d := rig.dialer(t, "open")
		type result struct {
			conn net.Conn
			err  error
		}
		results := make(chan result, 1)
		go func() { // ends with the dial
			conn, err := d.DialContext(t.Context(), "tcp", "echo.test:7")
			results <- result{conn, err}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := d.DialContext(ctx, "tcp", "echo.test:7"); !is[*TimeoutError](err) || !strings.Contains(err.Error(), "waiting for the configuration to start") {
			t.Errorf("before the start: %v", err)
		}
		cancel()
		if !starts {
			if err := rig.Cleanup(); err != nil {
				t.Fatal(err)
			}
			if r := <-results; !errors.Is(r.err, ErrClosed) || !is[*net.OpError](r.err) {
				t.Errorf("without a start: %v", r.err)
			}
			continue
		}
		if len(results) > 0 || rig.Stats().Connects > 0 {
			t.Error("the dial did not wait for the start")
		}
		rig.start(t)
		if r := <-results; r.err != nil {
			t.Error(r.err)
		} else {
			wantEchoed(t, r.conn)
		}
	}
}

// TestDialerAfterCleanup: what still runs may dial, until drain_timeout has passed.
func TestDialerAfterCleanup(t *testing.T) {
	for _, drain := range []time.Duration{time.Hour, time.Millisecond} {
		rig := newDialerRig(t, func(_ string, tunnels map[string]*config.Tunnel) {
			tunnels["open"].DrainTimeout = new(caddy.Duration(drain))
		})
		rig.start(t)
		d := rig.dialer(t, "open")
		wantEchoed(t, mustDial(t, d, "tcp", "echo.test:7"))
		if err := rig.Cleanup(); err != nil {
			t.Fatal(err)
		}
		if drain == time.Hour {
			wantEchoed(t, mustDial(t, d, "tcp", "echo.test:7"))
			continue
		}
		sshtest.Eventually(t, sshtest.Patience, "dials fail", func() bool {
			conn, err := d.DialContext(t.Context(), "tcp", "echo.test:7")
			if err == nil {
				_ = conn.Close()
			}
			return errors.Is(err, ErrClosed)
		})
	}
}

// TestDialerReload: over a reload that leaves the tunnel as it is, connections go on, and
// the dialers of both configurations use the same SSH connection. Over one that changes
// it, connections go on, and each dialer uses the tunnel of its own configuration.
func TestDialerReload(t *testing.T) {
	echo := namedEcho(t, "echo")
	b, block := newTunnel(t, "prod", hosts{"echo.test:7": echo.Addr().String(), "more.test:7": echo.Addr().String()})
	lookup := func() *Dialer {
		d, err := LookupDialer(caddy.ActiveContext(), "prod")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	limited := func(pattern string) string {
		return strings.Replace(block(b.Addr()), "{\n", "{\nconnections 1\npermit_open "+pattern+"\n", 1)
	}
	address := serve(t, limited("echo.test:7"), "", "respond ok")
	before := lookup()
	conn := mustDial(t, before, "tcp", "echo.test:7")
	defer conn.Close()
	greeted(t, conn, "echo")

	if err := reload(address, limited("more.test:7"), "", "respond ok"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "after"); err != nil {
		t.Fatal(err)
	}
	greeted(t, conn, "after")
	for d, target := range map[*Dialer]string{before: "echo.test:7", lookup(): "more.test:7"} {
		conn := mustDial(t, d, "tcp", target)
		greeted(t, conn, "echo")
		_ = conn.Close()
	}
	if _, err := before.DialContext(t.Context(), "tcp", "more.test:7"); !is[*DeniedError](err) {
		t.Errorf("the old dialer permits what only the new configuration does: %v", err)
	}

	other, otherBlock := newTunnel(t, "prod", hosts{"more.test:7": echo.Addr().String()})
	if err := reload(address, otherBlock(other.Addr()), "", "respond ok"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "again"); err != nil {
		t.Fatal(err)
	}
	greeted(t, conn, "again")
	for d, target := range map[*Dialer]string{before: "echo.test:7", lookup(): "more.test:7"} {
		conn := mustDial(t, d, "tcp", target)
		greeted(t, conn, "echo")
		_ = conn.Close()
	}
	if n, others := b.Stats().Logins, other.Stats().Logins; n != 1 || others != 1 {
		t.Errorf("there were %d logins at the first bastion and %d at the other, want one each", n, others)
	}
}
