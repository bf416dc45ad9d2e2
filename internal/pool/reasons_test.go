package pool

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReasonsAreDocumented checks that the manual's table of metrics has each reason
// for which a connection is replaced.
func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `caddy_ssh_tunnel_reconnects_total` .*$").FindString(string(page))
	for _, r := range []reason{reasonLost, reasonRekey, reasonCert, reasonPreferred, reasonJump, reasonForward, reasonStuck, reasonRequested} {
		if !strings.Contains(row, "`"+string(r)+"`") {
			t.Errorf("%q is not in %q", r, row)
		}
	}
}
