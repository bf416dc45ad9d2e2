package command

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// fakeStatus are tunnels of each kind, at a moment.
func fakeStatus(now time.Time) []adminapi.Status {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	soon, expiry := now.Add(14*time.Second), now.Add(3*time.Hour+20*time.Minute)
	return []adminapi.Status{
		{
			Status: report.Status{
				Tunnel: "prod", State: report.StateUp, Since: ago(50*time.Hour + 10*time.Minute),
				Hosts: []string{"b1.example.com:22", "b2.example.com:22"}, Host: "b2.example.com:22",
				RTT: 0.01234, Channels: 12, WaitingDials: 3, Received: 5<<30 + 1<<29, Sent: 123456, CertificateExpires: &expiry,
				Connections: []report.ConnectionStatus{{Class: "requests"}, {Class: report.ClassDraining}, {Class: "streams"}},
				LastError:   &report.ErrorStatus{Time: ago(51 * time.Hour), Cause: failure.CauseLost, Error: "long ago"},
				Attempts: []*connect.Attempt{
					{Host: "b1.example.com:22", Started: ago(time.Minute), Cause: failure.CauseRefused, Error: "not where the tunnel is"},
					{Host: "b2.example.com:22", Started: ago(5 * time.Second), Cause: failure.CauseHostKeyMismatch, Error: "another key"},
				},
			},
			Forwards: []adminapi.Forward{
				{Kind: "local_forward", Listen: "127.0.0.1:5432", State: remote.Listening},
				{Kind: "remote_forward", Listen: "localhost:9000", State: remote.Refused, Error: "the bastion refuses"},
				{Kind: "bind", Listen: "*:8080", State: remote.Waiting},
			},
		},
		{
			Status: report.Status{
				Tunnel: "stage", State: report.StateDown, Since: ago(75 * time.Second), ProxyJump: "prod",
				Hosts:     []string{"s1.internal:22", "s2.internal:22"},
				LastError: &report.ErrorStatus{Time: ago(3 * time.Second), Cause: failure.CauseKeyRefused, Error: "no\x1b[2J\nway"},
				NextRetry: &soon,
			},
			Forwards: []adminapi.Forward{{Kind: "bind", Listen: "*:8080", State: remote.Waiting}},
		},
		{Status: report.Status{Tunnel: "new", State: report.StateConnecting, Since: ago(400 * time.Millisecond), Hosts: []string{"new.example.com:22"}}},
		{Status: report.Status{
			Tunnel: "quiet", State: report.StateIdle, Since: ago(9 * time.Second), Hosts: []string{"quiet.example.com:22"}, Received: 1023, Sent: 1024,
			LastError: &report.ErrorStatus{Time: ago(9 * time.Second), Cause: failure.CauseLost, Error: "EOF"},
		}},
	}
}

const fakeTable = `TUNNEL  STATE       HOST                               SINCE  RTT     CONNECTIONS     CHANNELS  IN       OUT
prod    up          b2.example.com:22                  2d2h   12.3ms  2 + 1 draining  12        5.5 GiB  121 KiB
  another connection failed: host_key_mismatch 5s ago: another key
  full: 3 dials wait for a channel
  certificate expires in 3h20m
  remote_forward localhost:9000: refused: the bastion refuses
  bind *:8080: waiting
stage   down        s1.internal:22 or 1 more via prod  1m15s  -       0               0         0 B      0 B
  key_refused 3s ago, tries again in 14s: no?[2J way
new     connecting  new.example.com:22                 400ms  -       0               0         0 B      0 B
quiet   idle        quiet.example.com:22               9s     -       0               0         1023 B   1.0 KiB
`

func TestStatusTable(t *testing.T) {
	t.Parallel()
	now := time.Now()
	if got := statusTable(fakeStatus(now), now); got != fakeTable {
		t.Errorf("got\n%s\nwant\n%s", got, fakeTable)
	}
	if got := statusTable(nil, now); got != "no tunnel is configured\n" {
		t.Errorf("without tunnels: got %q", got)
	}
}

func TestStatusReadiness(t *testing.T) {
	t.Parallel()
	tunnels := fakeStatus(time.Now())
	if err := unready(tunnels); err == nil || err.Error() != "not up: stage, new" {
		t.Errorf("got %v", err)
	}
	for i := range tunnels {
		tunnels[i].Lazy = true
	}
	if err := unready(tunnels); err != nil {
		t.Errorf("lazy tunnels: got %v", err)
	}
}

// TestAdminFlags: where the admin API is looked for.
func TestAdminFlags(t *testing.T) {
	write := func(admin string) string {
		return sshtest.WriteFile(t, "caddy.json", []byte(`{"admin": {`+admin+`}, "apps": {"ssh_tunnel": {"tunnels": {"prod": {"hosts": ["b"]}, "dev": {"hosts": ["b"]}}}}}`))
	}
	for want, flags := range map[string]adminFlags{
		"localhost:2019": {},
		"localhost:2020": {configFlags: configFlags{file: write(`"listen": "localhost:2020"`)}},
		"localhost:2021": {configFlags: configFlags{file: write(`"disabled": true`)}, address: "localhost:2021"},
	} {
		if got, err := flags.admin(); err != nil || string(got) != want {
			t.Errorf("got %q %v, want %q", got, err, want)
		}
	}
	flags := adminFlags{configFlags: configFlags{file: write(`"disabled": true`)}}
	if _, err := flags.admin(); err == nil || !strings.Contains(err.Error(), "has admin off") {
		t.Errorf("got %v", err)
	}
	// With nobody to ask, names to complete come from the configuration.
	cmd := newStatusCommand()
	cmd.SetContext(t.Context())
	if got, _ := flags.complete(cmd, []string{"prod"}, ""); len(got) != 1 || got[0] != "dev" {
		t.Errorf("completing: got %q", got)
	}
}
