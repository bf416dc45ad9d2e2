package tunnel

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReasonsAreDocumented: the README's table of metrics has each reason for
// which a connection is made anew.
func TestReasonsAreDocumented(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `caddy_ssh_tunnel_reconnects_total` .*$").FindString(string(readme))
	for _, r := range []reason{reasonLost, reasonRekey, reasonCert, reasonPreferred, reasonJump, reasonForward, reasonStuck, reasonRequested} {
		if !strings.Contains(row, "`"+string(r)+"`") {
			t.Errorf("%q is not in %q", r, row)
		}
	}
}
