//go:build linux

package e2e

import (
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// examples_status_test.go runs the example of the status page.

func runStatusPage(e *example) {
	b := e.bastion()
	b.serve80("web")
	e.site("status.example.com")
	e.site("app.example.com")
	hash, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		e.t.Fatal(err)
	}
	e.replace("$2b$14$VDUlnW33wtRgG5X05sSXROyuyUsFVcYY8QAGasfpWw6JnBuM6aW02", string(hash))
	e.run()
	e.serves("https://app.example.com/hello", "web")
	if out, err := e.curl("https://status.example.com/").CombinedOutput(); err == nil || !strings.Contains(string(out), "401") {
		e.t.Errorf("without a password: %s", out)
	}
	page := func(args ...string) string {
		return output(e.t, e.curl(append(args, "-u", "operator:correct horse", "https://status.example.com/")...))
	}
	for _, want := range []string{`id="tunnel-1-name">prod</h2>`, "bastion.example.com:22", "OpenSSH_", "requests"} {
		if got := page(); !strings.Contains(got, want) {
			e.t.Errorf("the page does not have %s:\n%s", want, got)
		}
	}
	if got := page("-H", "Accept: application/json"); !strings.HasPrefix(got, `[{"tunnel":"prod","state":"up"`) {
		e.t.Errorf("got %s", got)
	}
	b.Stop()
	sshtest.Eventually(e.t, patience, "the fix", func() bool { return strings.Contains(page(), ">Fix</span>") })
}
