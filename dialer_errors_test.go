package sshtunnel

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// refusals are what the bastion refuses to connect to, and how.
var refusals = map[string]*ssh.OpenChannelError{
	"refused.test:80":     {Reason: ssh.ConnectionFailed, Message: "Connection refused"},
	"unknown.test:80":     {Reason: ssh.ConnectionFailed, Message: "Name or service not known"},
	"unreachable.test:80": {Reason: ssh.ConnectionFailed, Message: "No route to host"},
	"slow.test:80":        {Reason: ssh.ConnectionFailed, Message: "Connection timed out"},
	"failed.test:80":      {Reason: ssh.ConnectionFailed, Message: "open failed"},
	"forbidden.test:80":   {Reason: ssh.Prohibited, Message: "open failed"},
	"foreign.test:80":     {Reason: ssh.UnknownChannelType, Message: "unknown channel type"},
	"scarce.test:80":      {Reason: ssh.ResourceShortage, Message: "too many"},
	"[fd00::1]:80":        {Reason: ssh.ConnectionFailed, Message: "Connection refused"},
}

// TestDialerErrors: every error is a *net.OpError, with an error in it that says which kind
// it is; and only what is over time, or canceled, looks like it.
func TestDialerErrors(t *testing.T) {
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no longer wanted"))
	expired, cancelExpired := context.WithDeadline(t.Context(), time.Now())
	defer cancelExpired()
	unlimited, cancelUnlimited := context.WithCancel(t.Context())
	defer cancelUnlimited()

	rig := newDialerRig(t, func(address string, tunnels map[string]*config.Tunnel) {
		down := *tunnels["open"]
		down.Hosts = []string{"deploy@" + freeAddress(t)}
		tunnels["down"] = &down
		jumping := *tunnels["open"] // whose bastion is behind the other, which cannot reach it
		jumping.Hosts, jumping.ProxyJump = []string{"deploy@refused.test:80"}, "open"
		tunnels["jumping"] = &jumping
	})
	rig.start(t)
	for _, test := range []struct {
		tunnel, network, address string
		ctx                      context.Context
		is                       func(err error) bool
		says                     string
	}{
		{"open", "tcp", "refused.test:80", nil, refusedFor(RefusedConnectFailed, syscall.ECONNREFUSED), `connection refused (nothing listens there, as seen from the bastion)`},
		{"open", "tcp", "[fd00::1]:80", nil, refusedFor(RefusedConnectFailed, syscall.ECONNREFUSED), `connection refused (`},
		{"open", "tcp", "unknown.test:80", nil, refusedFor(RefusedConnectFailed, nil), `unknown name (the bastion cannot resolve the name)`},
		{"open", "tcp", "unknown.test:80", nil, func(err error) bool {
			e, ok := errors.AsType[*net.DNSError](err)
			return ok && e.Name == "unknown.test"
		}, ``},
		{"open", "tcp", "unreachable.test:80", nil, refusedFor(RefusedConnectFailed, syscall.EHOSTUNREACH), `unreachable (No route to host)`},
		{"open", "tcp", "slow.test:80", nil, refusedFor(RefusedConnectFailed, syscall.ETIMEDOUT), `timed out (Connection timed out)`},
		{"open", "tcp", "failed.test:80", nil, refusedFor(RefusedConnectFailed, nil), `connect failed (the bastion does not say why`},
		{"open", "tcp", "forbidden.test:80", nil, refusedFor(RefusedProhibited, nil), `administratively prohibited (AllowTcpForwarding`},
		{"open", "tcp", "foreign.test:80", nil, refusedFor(RefusedUnknownType, nil), `unknown channel type (`},
		{"open", "tcp", "scarce.test:80", nil, refusedFor(RefusedShortage, nil), `resource shortage (too many)`},

		{"limited", "tcp", "refused.test:80", nil, is[*DeniedError], `tunnel "limited": target "refused.test:80" is not permitted by permit_open`},
		{"limited", "unix", "/run/echo.sock", nil, is[*DeniedError], `target "unix//run/echo.sock" is not permitted`},

		{"down", "tcp", "echo.test:7", nil, func(err error) bool {
			e, ok := errors.AsType[*DownError](err)
			return ok && e.Tunnel == "down" && e.RetryAfter >= time.Second && strings.Contains(e.Cause.Error(), "connection refused")
		}, `tunnel "down" is down: `},
		// The bastion has refused a channel, but not the one to the target.
		{"jumping", "tcp", "echo.test:7", nil, func(err error) bool { return is[*DownError](err) && !is[*RefusedError](err) }, `tunnel "jumping" is down: `},

		{"open", "tcp", "echo.test:7", canceled, func(err error) bool {
			return errors.Is(err, context.Canceled) && !isTimeout(err) && !is[*TimeoutError](err)
		}, `context canceled`},
		{"open", "tcp", "echo.test:7", expired, func(err error) bool {
			return errors.Is(err, context.DeadlineExceeded) && isTimeout(err) && is[*TimeoutError](err)
		}, `tunnel "open": opening channel to "echo.test:7": context deadline exceeded`},

		{"open", "udp", "echo.test:7", nil, is[net.UnknownNetworkError], `dial udp: unknown network udp: a tunnel dials tcp, `},
		{"open", "tcp4", "echo.test:7", nil, is[net.UnknownNetworkError], `where the bastion chooses the address family`},
		{"open", "tcp", "echo.test", nil, is[*net.OpError], `dial tcp: target "echo.test": no port; write host:port`},
		{"open", "tcp", "echo.test:http", nil, is[*net.OpError], `port "http" is not one from 1 to 65535`},
		{"open", "tcp", ":7", nil, is[*net.OpError], `the bastion itself is "localhost"`},
		{"open", "tcp", "unix//run/echo.sock", nil, is[*net.OpError], `is a socket; its network is unix`},
		{"open", "unix", "echo.sock", nil, is[*net.OpError], `not an absolute path on the bastion`},
	} {
		ctx := test.ctx
		if ctx == nil {
			ctx = unlimited // which has no deadline, and has not ended
		}
		conn, err := rig.dialer(t, test.tunnel).DialContext(ctx, test.network, test.address)
		if err == nil {
			_ = conn.Close()
			t.Errorf("%s, %s %s: no error", test.tunnel, test.network, test.address)
			continue
		}
		if e, ok := err.(*net.OpError); !ok || e.Op != "dial" || e.Net != test.network || e.Addr != nil && e.Addr.String() != test.address {
			t.Errorf("%s, %s %s: %#v is no *net.OpError of the dial", test.tunnel, test.network, test.address, err)
		}
		if !test.is(err) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s, %s %s: got %v\nwant %s", test.tunnel, test.network, test.address, err, test.says)
		}
		if test.ctx == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || isTimeout(err)) {
			t.Errorf("%s, %s %s: %v looks as if the context had ended", test.tunnel, test.network, test.address, err)
		}
	}
	for _, open := range rig.Opens() {
		if open.Address == "echo.test:7" || open.Network == "unix" {
			t.Errorf("the bastion was asked for %+v", open)
		}
	}
}

// is reports whether an error of type E is in an error.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// refusedFor returns what reports whether an error is a refusal for a reason, and has a
// cause, unless that is nil.
func refusedFor(reason RefusedReason, cause error) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*RefusedError](err)
		return ok && e.Tunnel == "open" && e.Target != "" && e.Reason == reason && (cause == nil || errors.Is(err, cause))
	}
}

// TestRefusals: each reason that the tunnel knows has one of the API, whose text is
// the tunnel's.
func TestRefusals(t *testing.T) {
	for _, reason := range failure.OpenReasons() {
		e := &failure.OpenError{Tunnel: "prod", Target: "web:80", Reason: reason, Detail: "detail"}
		got := dialError(t.Context(), e)
		if got.Error() != e.Error() {
			t.Errorf("got %q, want %q", got, e)
		}
		refused, ok := got.(*RefusedError)
		if pending := reason == failure.OpenPending; ok == pending || is[*TimeoutError](got) != pending {
			t.Errorf("%s: got %#v", reason, got)
		}
		if ok && reason == failure.OpenFailed && (refused.Reason != RefusedConnectFailed || refused.Cause != nil) {
			t.Errorf("%s: got %#v", reason, got)
		}
	}
	for want, e := range map[string]error{
		`tunnel "": opening channel to "": connect failed`: &RefusedError{Reason: RefusedConnectFailed},
		`tunnel "": opening channel to "": reason 9`:       &RefusedError{Reason: 9},
		`tunnel "prod" is down: <nil>`:                     &DownError{Tunnel: "prod"},
	} {
		if e.Error() != want {
			t.Errorf("got %q, want %q", e, want)
		}
	}
}
