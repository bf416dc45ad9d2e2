//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// examples_test.go runs the Caddyfiles of examples/ with real servers;
// examples_runs_test.go says what each one has to do.

const examplesDir = "../../examples"

// TestExamples runs each Caddyfile of examples/, in a network where the hosts
// that it names exist on their usual ports. Only paths and keys are replaced.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(examplesDir, "*.Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".Caddyfile"))
	}
	if want := slices.Sorted(maps.Keys(exampleRuns)); !slices.Equal(names, want) {
		t.Errorf("there are the examples\n%v\nand tests for\n%v", names, want)
	}
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^\| \[(.+)\]\(([^/\n]+)\.Caddyfile\) \|`).FindAllStringSubmatch(string(readFile(t, examplesDir+"/README.md")), -1) {
		if m[1] != m[2] {
			t.Errorf("README.md calls %s.Caddyfile %q", m[2], m[1])
		}
		listed = append(listed, m[2])
	}
	slices.Sort(listed)
	if !slices.Equal(listed, names) {
		t.Errorf("README.md lists\n%v\nof\n%v", listed, names)
	}
	for name, run := range exampleRuns {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := readFile(t, filepath.Join(examplesDir, name+".Caddyfile"))
			e := &example{caddy: newCaddy(t), ca: sshtest.NewCA(), content: string(content)}
			e.netns = sshtest.NewNetns(t)
			run(e)
			if e.cmd == nil {
				t.Error("the example was not run")
			}
		})
	}
}

// example is an example's Caddy, in a network of its own.
type example struct {
	*caddy
	ca      *sshtest.CA // of the sites' certificates
	content string      // the Caddyfile
	hosts   []string    // lines of the network's /etc/hosts
}

// privateNames are names for 127.0.0.1 in the network of a bastion.
const privateNames = "web.internal web1.internal web2.internal db.internal redis.internal git.internal status.internal " +
	"orders.internal billing.internal reports.internal billing.apps.internal inner.internal"

// fingerprint is that of the bastion's host key in most examples.
const fingerprint = "SHA256:uNiVztksCsDhcc0u9e8BrMXMMVIpYvRXb1ZVJgQxcvE"

// replace replaces a text that the Caddyfile has to have.
func (e *example) replace(text, with string) {
	e.t.Helper()
	if !strings.Contains(e.content, text) {
		e.t.Fatalf("the example does not have %q", text)
	}
	e.content = strings.ReplaceAll(e.content, text, with)
}

// host starts a bastion that has a name and port 22 in Caddy's network.
func (e *example) host(name, config string) *bastion {
	e.t.Helper()
	b := newEmptyBastion(e.t, config)
	b.netns.SetHosts("127.0.0.1 " + privateNames)
	address := fmt.Sprintf("127.0.0.%d", len(e.hosts)+2)
	e.hosts = append(e.hosts, address+" "+name)
	relay(e.t, e.netns.Listen("tcp", address+":22"), b.Addr())
	return b
}

// bastion starts bastion.example.com, whose key and host key are where most
// examples have them.
func (e *example) bastion() *bastion {
	e.t.Helper()
	b := e.host("bastion.example.com", "")
	e.trust(b)
	return b
}

// trust gives Caddy the bastion's host key, and a key that may log in there.
func (e *example) trust(b *bastion) {
	e.t.Helper()
	e.write("etc/caddy/id_ed25519", b.identity.PEM(""))
	e.replace("/etc/caddy/", e.home+"/etc/caddy/")
	e.replace(fingerprint, b.HostKey.Fingerprint())
}

// site gives a name in Caddy's network to Caddy, and puts its certificate where
// Caddy keeps those that it got from an authority.
func (e *example) site(name string) {
	e.t.Helper()
	e.hosts = append(e.hosts, "127.0.0.1 "+name)
	cert, key := sshtest.EncodePEM(e.ca.Issue(name))
	at := fmt.Sprintf("data/caddy/certificates/acme-v02.api.letsencrypt.org-directory/%[1]s/%[1]s", name)
	e.write(at+".crt", cert)
	e.write(at+".key", key)
	e.write(at+".json", fmt.Appendf(nil, `{"sans": [%q]}`, name))
}

// run starts Caddy with the example.
func (e *example) run() {
	e.t.Helper()
	e.netns.SetHosts(e.hosts...)
	e.start(e.content)
}

// serve80 starts a web server inside, on port 80, which says hello as the name.
func (b *bastion) serve80(name string) *sshtest.Web {
	b.t.Helper()
	return b.serveWeb(name, "127.0.0.1:80")
}

func (b *bastion) serveWeb(name, address string) *sshtest.Web {
	b.t.Helper()
	return sshtest.NewWeb(b.t, sshtest.WebOptions{Name: name, Listener: b.netns.Listen("tcp", address)})
}

// inNetwork returns a client's command that runs in Caddy's network.
func (e *example) inNetwork(name string, args ...string) *exec.Cmd {
	e.t.Helper()
	cmd := e.netns.Command(program(e.t, name), args...)
	cmd.Env = client(e.t, name).Env
	return cmd
}

// curl returns a curl that trusts the sites' authority.
func (e *example) curl(args ...string) *exec.Cmd {
	e.t.Helper()
	return e.inNetwork("curl", append([]string{
		"-sS", "--fail", "--max-time", "20", "--cacert", sshtest.WriteFile(e.t, "ca.pem", e.ca.PEM()),
	}, args...)...)
}

// answers runs a command until it succeeds, and wants a text in what it prints.
func (e *example) answers(want string, command func() *exec.Cmd) {
	e.t.Helper()
	var out []byte
	sshtest.Eventually(e.t, patience, want, func() (ok bool) {
		var err error
		out, err = command().CombinedOutput()
		return err == nil
	})
	if !strings.Contains(string(out), want) {
		e.t.Errorf("got %q, want %q", out, want)
	}
}

// serves wants a page that says hello as the name.
func (e *example) serves(url, name string) {
	e.t.Helper()
	e.answers("hello from "+name, func() *exec.Cmd { return e.curl(url) })
}
