package remedy

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// TestRemedies: every cause has a meaning and a fix, and nothing in a fix is left
// in braces but the placeholder of a configuration.
func TestRemedies(t *testing.T) {
	t.Parallel()
	p := Facts{
		Tunnel: "prod", Host: "b.example:2222", User: "deploy", Identity: "/id.pub",
		Fingerprint: "SHA256:x", Keygen: "ssh-keygen", Target: "web:80",
	}
	check := func(cause string, r Remedy) {
		for _, fix := range []string{p.Fill(r.fix), Facts{}.Fill(r.fix)} {
			if r.Means == "" || fix == "" || strings.Contains(strings.ReplaceAll(fix, "{env.<name>}", ""), "{") {
				t.Errorf("%s: means %q, fix %q", cause, r.Means, fix)
			}
		}
	}
	for _, cause := range slices.Concat(failure.Causes, []failure.Cause{failure.CauseLost, failure.CauseProhibited, CauseCertificate, CausePermitOpen}) {
		check(string(cause), ByCause[cause])
	}
	for _, reason := range failure.OpenReasons() {
		check(string(reason), ByReason[reason])
	}
	if got := p.Fix(failure.CauseKeyRefused); !strings.Contains(got, "ssh-copy-id -i /id.pub -p 2222 deploy@b.example") {
		t.Errorf("for a refused key: %q", got)
	}
	if got := (Facts{Target: "/run/web.sock"}).FixOpen(failure.OpenProhibited); !strings.Contains(got, "AllowStreamLocalForwarding") {
		t.Errorf("for a socket: %q", got)
	}
	if got := p.FixNoTarget(); strings.Contains(got, "public-key") || !strings.Contains(got, "--target") {
		t.Errorf("without a target: %q", got)
	}
	p.Generated = true
	if got := p.FixNoTarget(); !strings.Contains(got, "add a target, and replace the line") || !strings.Contains(got, "in its sshd_config") {
		t.Errorf("for a generated key without a target: %q", got)
	}
	for _, target := range []string{"web:80", "/run/web.sock"} {
		p.Target = target
		if got := p.FixOpen(failure.OpenProhibited); !strings.Contains(got, "caddy ssh-tunnel public-key prod") || !strings.Contains(got, "in its sshd_config") {
			t.Errorf("for a generated key and %s: %q", target, got)
		}
		if got := p.FixOpen(failure.OpenRefused); strings.Contains(got, "public-key") {
			t.Errorf("for a generated key and a server that is down: %q", got)
		}
	}
}
