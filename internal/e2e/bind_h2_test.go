//go:build linux

package e2e

import (
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// bind_h2_test.go has h2spec, a conformance suite, look at HTTP/2 from the
// bastion. It is github.com/summerwind/h2spec/cmd/h2spec.

// h2spec runs the suite, or those of its sections that are named, and returns the
// outcome of each case. What Caddy has to
// say to a case is Caddy's business; that it says it on the bastion is ours.
func h2spec(t *testing.T, run func(args ...string) *exec.Cmd, port int, sections ...string) map[string]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.xml")
	args := []string{"--tls", "--insecure", "--strict", "--host", "127.0.0.1", "--port", strconv.Itoa(port), "--timeout", "5", "--junit-report", file}
	out, _ := run(append(args, sections...)...).CombinedOutput()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var report struct {
		Suites []struct {
			Package string `xml:"package,attr"`
			Cases   []struct {
				Class   string    `xml:"classname,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	outcomes := make(map[string]string)
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			outcome := "passed"
			switch {
			case c.Failure != nil || c.Error != nil:
				outcome = "failed"
			case c.Skipped != nil:
				outcome = "skipped"
			}
			outcomes[suite.Package+" "+c.Class] = outcome
		}
	}
	return outcomes
}

// count returns how many cases have an outcome.
func count(outcomes map[string]string, want string) (n int) {
	for outcome := range maps.Values(outcomes) {
		if outcome == want {
			n++
		}
	}
	return n
}

// TestBindH2Spec runs the suite on the bastion, and for comparison here.
func TestBindH2Spec(t *testing.T) {
	t.Parallel()
	path := program(t, "h2spec")
	const host = "site.example.com"
	b, ca := newEmptyBastion(t, ""), sshtest.NewCA()
	c := startCaddy(t, func(c *caddy) string {
		site := certificate(t, ca, host) + "respond hello\n"
		return b.bound("auto_https disable_redirects\ndefault_sni "+host,
			fmt.Sprintf("https://%[1]s:%[2]d, https://127.0.0.1:%[2]d {\nbind ssh_tunnel/prod\n%[4]s}\nhttps://%[1]s:%[3]d, https://127.0.0.1:%[3]d {\nbind 127.0.0.1\n%[4]s}\n",
				host, tlsPort, c.port, site))
	})
	b.curls("--insecure", fmt.Sprintf("https://127.0.0.1:%d", tlsPort))
	here := func(args ...string) *exec.Cmd { return exec.Command(path, args...) }
	plain := h2spec(t, here, c.port)
	inside := func(args ...string) *exec.Cmd { return b.netns.Command(path, args...) }
	bastion := h2spec(t, inside, tlsPort)
	if len(plain) < 100 || count(plain, "passed") < 100 {
		t.Fatalf("too few cases were tried: %d, %d of them passed", len(plain), count(plain, "passed"))
	}
	for _, name := range slices.Sorted(maps.Keys(plain)) {
		// Some cases are a race between the suite and the server, here as there:
		// who has failed has another try.
		section, _, _ := strings.Cut(name, " ")
		for try := 0; try < 3 && plain[name] != bastion[name]; try++ {
			if bastion[name] == "passed" {
				plain[name] = h2spec(t, here, c.port, section)[name]
			} else {
				bastion[name] = h2spec(t, inside, tlsPort, section)[name]
			}
		}
		if plain[name] != bastion[name] {
			t.Errorf("%s: %q on the bastion, %q here", name, bastion[name], plain[name])
		}
	}
	t.Logf("on the bastion %d passed and %d failed, here %d and %d", count(bastion, "passed"), count(bastion, "failed"),
		count(plain, "passed"), count(plain, "failed"))
}
