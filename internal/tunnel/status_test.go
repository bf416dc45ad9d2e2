package tunnel

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// TestStatus follows a tunnel from its first connection through a loss.
func TestStatus(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	server := listen(t, echo)
	c := mustDial(t, b.Handle, server)
	roundTrip(t, c)

	s := b.Status()
	if s.Tunnel != "test" || s.State != report.StateUp || s.Host != b.link.Addr() || s.User != "tester" || s.Since.IsZero() || s.LastError != nil {
		t.Errorf("got %+v", s)
	}
	if s.Channels != 1 || s.ChannelsTotal < 1 || s.Received < 5 || s.Sent < 5 {
		t.Errorf("channels and bytes: %+v", s)
	}
	if len(s.Connections) != 1 {
		t.Fatalf("connections: %+v", s.Connections)
	}
	conn := s.Connections[0]
	if conn.Class != "requests" || conn.Channels != 1 || conn.Received < 5 || conn.Host != b.link.Addr() ||
		conn.HostKey != b.bastion.HostKeyFingerprint() || !strings.HasPrefix(conn.Server, "SSH-2.0-") ||
		!strings.Contains(conn.Authentication, b.key.Fingerprint()) || conn.Algorithms == nil || !conn.Algorithms.PostQuantum {
		t.Errorf("connection: %+v", conn)
	}
	steps := []string{}
	for _, step := range s.Attempts[0].Steps {
		steps = append(steps, step.Name)
	}
	if want := []string{connect.StepReach, connect.StepBanner, connect.StepKeyExchange, connect.StepHostKey, connect.StepAuthentication}; !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
	if s.Attempts[0].HostKeySource != "host_key" || s.Attempts[0].Failed != "" {
		t.Errorf("attempt: %+v", s.Attempts[0])
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}

	b.link.Refuse()
	b.link.Reset()
	sshtest.Eventually(t, 10*time.Second, "the tunnel is down", func() bool { return b.Status().State == report.StateDown })
	s = b.Status()
	if s.LastError == nil || s.LastError.Cause != failure.CauseRefused || s.Host != "" || len(s.Connections) != 0 {
		t.Errorf("down: %+v, last error %+v", s, s.LastError)
	}
	b.link.Accept()
	sshtest.Eventually(t, 10*time.Second, "the tunnel is up", func() bool { return b.Status().State == report.StateUp })
	if s := b.Status(); s.LastError == nil || s.Since.IsZero() {
		t.Errorf("up again: %+v", s)
	}
}

// TestStatusIdle: a lazy tunnel that nobody uses is neither up nor down.
func TestStatusIdle(t *testing.T) {
	t.Parallel()
	set := quick()
	set.Lazy = true
	b := newBench(t, set, nil)
	if s := b.Status(); s.State != report.StateIdle || !s.Lazy || s.Since.IsZero() {
		t.Errorf("got %+v", s)
	}
}

// TestStatusForward: the status has what the bastion listens on, and that it refuses.
func TestStatusForward(t *testing.T) {
	sshtest.Takes(t, time.Second)
	t.Parallel()
	b := newBench(t, quick(), nil)
	b.bastion.Misbehave(sshtest.Faults{RefuseForwards: true})
	ln, err := b.Listen("tcp", "localhost:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	is := func(state remote.State) func() bool {
		return func() bool {
			s := ln.Status()
			return s.State == state && (s.Err != nil) == (state == remote.Refused)
		}
	}
	sshtest.Eventually(t, 10*time.Second, "it is refused", is(remote.Refused))
	b.bastion.Misbehave(sshtest.Faults{})
	sshtest.Eventually(t, 10*time.Second, "it listens", is(remote.Listening))
	b.link.Refuse()
	b.link.Cut()
	sshtest.Eventually(t, 10*time.Second, "it waits", is(remote.Waiting))
}

// TestCauses: each way in which a connect fails has its own cause, and the step
// at which it does.
func TestCauses(t *testing.T) {
	t.Parallel()
	key, stranger := sshtest.NewKey(), sshtest.NewKey()
	b := bastionFor(t, key, func(o *sshtest.BastionOptions) { o.Password = "right" })
	silent := sshtest.NewLink(t, b.Addr())
	silent.Freeze(sshtest.Both)
	http := sshtest.NewWeb(t, sshtest.WebOptions{})
	old := sshtest.NewBastion(t, sshtest.BastionOptions{Config: ssh.Config{KeyExchanges: []string{"diffie-hellman-group14-sha1"}}})
	good := func() Config { return configFor(t, key, b.HostKeyFingerprint(), b.Addr()) }
	for name, test := range map[string]struct {
		change func(*Config)
		cause  failure.Cause
		step   string
	}{
		"down":     {func(c *Config) { c.Address = "127.0.0.1:1" }, failure.CauseRefused, connect.StepReach},
		"no name":  {func(c *Config) { c.Address = "bastion.invalid:22" }, failure.CauseUnknownName, connect.StepReach},
		"silent":   {func(c *Config) { c.Address = silent.Addr() }, failure.CauseNoBanner, connect.StepBanner},
		"not SSH":  {func(c *Config) { c.Address = http.Addr() }, failure.CauseNotSSH, connect.StepBanner},
		"old":      {func(c *Config) { c.Address = old.Addr() }, failure.CauseKeyExchange, connect.StepKeyExchange},
		"changed":  {func(c *Config) { c.HostKeys = []string{stranger.Fingerprint()} }, failure.CauseHostKeyMismatch, connect.StepHostKey},
		"unknown":  {func(c *Config) { c.HostKeys, c.KnownHosts = nil, []string{"/nonexistent"} }, failure.CauseHostKeyUnknown, connect.StepHostKey},
		"key":      {func(c *Config) { c.IdentityFiles[0].Path = sshtest.WriteFile(t, "id", stranger.PEM("")) }, failure.CauseKeyRefused, connect.StepAuthentication},
		"password": {func(c *Config) { c.IdentityFiles, c.Password = nil, "wrong" }, failure.CausePasswordRefused, connect.StepAuthentication},
		"nothing":  {func(c *Config) { c.IdentityFiles = nil }, failure.CauseNoCredentials, connect.StepAuthentication},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, set := good(), quick()
			cfg.Name = name
			test.change(&cfg)
			set.ConnectTimeout = sshtest.Patience
			if test.cause == failure.CauseNoBanner || test.cause == failure.CauseNoAnswer {
				set.ConnectTimeout = 2 * time.Second
			}
			h := open(t, cfg, set)
			err := h.Connect(t.Context())
			down, ok := errors.AsType[*DownError](err)
			if !ok || failure.CauseOf(down) != test.cause {
				t.Fatalf("cause %q of %v", failure.CauseOf(err), err)
			}
			s := h.Status()
			if s.State != report.StateDown || s.LastError == nil || s.LastError.Cause != test.cause {
				t.Errorf("status: %+v, %+v", s, s.LastError)
			}
			if a := s.Attempts[0]; a.Failed != test.step || a.Cause != test.cause {
				t.Errorf("attempt failed at %q for %q, want %q: %+v", a.Failed, a.Cause, test.step, a)
			}
			if n := counted(t, "caddy_ssh_tunnel_connect_failures_total", h.cfg.Name, string(test.cause)); n < 1 {
				t.Errorf("it is counted %g times", n)
			}
		})
	}
}

// TestEvents: an observer gets a connection, its loss and another one, in
// this order. Durations are seconds.
func TestEvents(t *testing.T) {
	t.Parallel()
	set, seen := quick(), make(tunneltest.Events, 100)
	set.Observer = seen
	b := newBench(t, set, nil)
	first := seen.Next(t)
	if first.Name != report.EventConnected || first.Data["tunnel"] != "test" || first.Data["address"] != b.link.Addr() || first.Data["reconnected"] != false ||
		first.Data["host_key"] != b.bastion.HostKeyFingerprint() {
		t.Errorf("got %+v", first)
	}
	b.link.Reset()
	seconds := func(e report.Event, field string) {
		t.Helper()
		if took, ok := e.Data[field].(float64); !ok || took <= 0 || took > 60 {
			t.Errorf("%s: %s is %v, want seconds", e.Name, field, e.Data[field])
		}
	}
	seconds(first, "duration")
	if e := seen.Next(t); e.Name != report.EventLost || e.Data["error"] == "" {
		t.Errorf("got %+v", e)
	} else {
		seconds(e, "duration")
	}
	if e := seen.Next(t); e.Name != report.EventConnected || e.Data["reconnected"] != true {
		t.Errorf("got %+v", e)
	}
	// Refused from now on.
	b.bastion.SetHostKeys(sshtest.NewKey())
	b.link.Reset()
	if e := seen.Next(t); e.Name != report.EventLost {
		t.Errorf("got %+v", e)
	}
	if e := seen.Next(t); e.Name != report.EventRefused || e.Data["cause"] != string(failure.CauseHostKeyMismatch) {
		t.Errorf("got %+v", e)
	} else {
		seconds(e, "retry_in")
	}
}

// TestReconnectRequested: a new connection takes over, what goes on goes on, and the count
// says why.
func TestReconnectRequested(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	c := mustDial(t, b.Handle, listen(t, echo))
	before := counted(t, "caddy_ssh_tunnel_reconnects_total", b.cfg.Name, "requested")
	if err := b.Reconnect(); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 10*time.Second, "a second login", func() bool { return b.bastion.Stats().Logins == 2 })
	roundTrip(t, c)
	sshtest.Eventually(t, 10*time.Second, "the old one drains", func() bool {
		s := b.Status()
		return len(s.Connections) == 2 && s.Connections[0].Class == "draining" && s.Connections[1].Class != "draining"
	})
	if n := counted(t, "caddy_ssh_tunnel_reconnects_total", b.cfg.Name, "requested") - before; n < 1 {
		t.Errorf("it is counted %g times", n)
	}
}

// counted returns a counter of a tunnel's, by the value of its other label.
func counted(t *testing.T, metric, tunnel, label string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(Metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			values := map[string]bool{}
			for _, l := range m.Label {
				values[l.GetValue()] = true
			}
			if family.GetName() == metric && values[tunnel] && values[label] {
				return m.Counter.GetValue()
			}
		}
	}
	return 0
}
