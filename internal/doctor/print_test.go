package doctor

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// TestWarnOfFiles: what is ignored in ssh_config files is shown with the first step, and of
// one tunnel only.
func TestWarnOfFiles(t *testing.T) {
	t.Parallel()
	reach := &Step{Step: connect.StepReach, OK: true, Warnings: []string{"slow"}}
	h := &HopReport{Steps: []*Step{reach, {Step: connect.StepBanner}}}
	h.warnOfFiles([]string{"password is written literally", "ssh_config: KnownHostsCommand is ignored"})
	if got := h.Steps[0].Warnings; !slices.Equal(got, []string{"slow", "ssh_config: KnownHostsCommand is ignored"}) || len(reach.Warnings) != 1 {
		t.Errorf("got %q, and %q", got, reach.Warnings)
	}
}

// TestPrint prints a report with all that there can be in one.
func TestPrint(t *testing.T) {
	t.Parallel()
	const key = "SHA256:uNiVztksCsDhcc0u9e8BrMXMMVIpYvRXb1ZVJgQxcvE"
	jump := &HopReport{Hop: "jump", Host: "jump.example.com:22", OK: true}
	jump.add(
		&Step{Step: connect.StepReach, OK: true, Took: 0.0124, Detail: "203.0.113.7:22"},
		&Step{Step: connect.StepBanner, OK: true, Took: 0.0004, Detail: "SSH-2.0-OpenSSH_9.2p1"},
		&Step{Step: connect.StepHostKey, OK: true, Took: 12.34, Detail: key + ", known by host_key", Warnings: []string{"known_hosts line kh:3 is skipped: no host name"}},
	)
	inner := &HopReport{Hop: "ssh_config inner", Host: "10.0.0.5:22", OK: true}
	inner.add(
		&Step{Step: connect.StepReach, Took: 10, Cause: failure.CauseRefused, Error: "connection refused", Fix: "start sshd"},
		&Step{Step: connect.StepBanner, NotReached: true},
	)
	last := &HopReport{Hop: "prod", Host: "10.0.0.6:22", OK: true}
	last.add(
		&Step{Step: stepForwarding, OK: true, Detail: "permitted"},
		&Step{Step: stepTarget, Target: "db.internal:5432", Took: 0.003, Cause: "connection_refused", Error: "refused", Fix: "start it"},
	)
	report := &TunnelReport{Tunnel: "prod", Hops: []*HopReport{jump, inner, last}}
	var b bytes.Buffer
	report.Print(&b)
	(&TunnelReport{Tunnel: "other", Hops: []*HopReport{misconfigured("other", os.ErrNotExist, []string{"ssh_config: Compression is ignored"})}}).Print(&b)
	golden, err := os.ReadFile("testdata/report.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(golden) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), golden)
	}
	if !jump.OK || inner.OK || last.OK {
		t.Error("a hop is not as its steps are")
	}
}
