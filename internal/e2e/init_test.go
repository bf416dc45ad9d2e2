//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// init_test.go goes from a fresh bastion to a page with `caddy ssh-tunnel init`.

// serveFile runs Caddy with the Caddyfile that init has written.
func (c *caddy) serveFile(path string) {
	c.t.Helper()
	c.start("{\ndebug\n" + strings.TrimPrefix(string(readFile(c.t, path)), "{\n"))
	c.wantServed()
}

// initArgs are the arguments of init for a bastion, whose site is c's.
func (b *freshBastion) initArgs(c *caddy, more ...string) []string {
	site := strings.TrimSuffix(strings.Split(c.site(c.port, ""), "\n")[0], " {")
	return append([]string{"init", "deploy@" + b.Addr(), "--name", "prod", "--site", site}, more...)
}

// TestInitOnTerminal answers every question, in one command with one password.
func TestInitOnTerminal(t *testing.T) {
	t.Parallel()
	b := newFresh(t, "")
	c := newCaddy(t)
	file := filepath.Join(c.home, "Caddyfile.new")
	f := startCommand(t, c.home, true, "", b.initArgs(c, "--output", file)...)
	f.answer("Are they the server's? (yes, no, or the fingerprint that one should have) ", b.HostKey.Fingerprint())
	f.answer("Which host and port is the site to reach, as the server sees it, such as web.internal:80? ", "web.internal")
	f.answer("Which host and port? ", "web.internal:80")
	f.answer("Generate a key for the tunnel prod in Caddy's storage (FileStorage:"+filepath.Join(c.home, "data/caddy")+")? (yes or no) ", "yes")
	if _, err := os.Stat(file); err == nil {
		t.Error("it writes the file before it is done")
	}
	f.answer("Add the key to ~deploy/.ssh/authorized_keys on the server now", "yes")
	f.answer("password of deploy at "+b.Addr()+": ", "wrong")
	f.answer("password of deploy at "+b.Addr()+": \r\npassword of deploy at "+b.Addr()+": ", "correct horse")
	if code := f.wait(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	for _, want := range []string{
		"  ssh-ed25519 " + b.HostKey.Fingerprint() + "   (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub)\n",
		"the server accepts no key of yours\n", "the password was not accepted\n", "added the key to ~deploy/.ssh/authorized_keys", "tunnel prod: all is well\n",
		"Match User deploy\n\tAllowTcpForwarding local\n\tPermitOpen web.internal:80\n\tAllowStreamLocalForwarding no\n\tMaxSessions 0\n",
		"To serve, run: caddy run --config " + file + "\n",
	} {
		if !strings.Contains(f.output(), want) {
			t.Errorf("it does not print %q", want)
		}
	}
	if strings.Contains(f.output()+f.terminal(), "correct horse") {
		t.Error("it prints the password")
	}
	if got := b.authorized(); !strings.HasPrefix(got, `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="web.internal:80",permitlisten="localhost:1" ssh-ed25519 `) {
		t.Errorf("authorized_keys has %q", got)
	}
	c.serveFile(file)

	// Again: the key is there, and the host key is asked about again.
	again := startCommand(t, c.home, true, "", b.initArgs(c, "--upstream", "web.internal:80")...)
	again.answer("Are they the server's? ", "yes")
	if code := again.wait(); code != 0 || !strings.Contains(again.output(), string(readFile(t, file))) {
		t.Errorf("again: exit status %d", code)
	}
	// A refusal is one.
	no := startCommand(t, c.home, true, "", b.initArgs(c, "--upstream", "web.internal:80")...)
	no.answer("Are they the server's? ", "no")
	if code := no.wait(); code != 1 || !strings.Contains(no.output(), "the host keys were not accepted") {
		t.Errorf("refused: exit status %d", code)
	}
}

// TestInitInScripts: each question has a flag, which an error names; nothing is written
// without a yes.
func TestInitInScripts(t *testing.T) {
	t.Parallel()
	b := newFresh(t, "")
	c := newCaddy(t)
	hostKey, auto, upstream := []string{"--host-key", b.HostKey.Fingerprint()}, []string{"--key", "auto"}, []string{"--upstream", "web.internal:80"}
	run := func(stdin string, more ...string) *forwarding {
		t.Helper()
		return startCommand(t, c.home, false, stdin, b.initArgs(c, more...)...)
	}
	for _, without := range []struct {
		flag string
		more []string
	}{
		{"--host-key", nil},
		{"--upstream", hostKey},
		{"--key", slices.Concat(hostKey, upstream)},
		{"--install or --print-key", slices.Concat(hostKey, upstream, auto)}, // from here on there is a key
		{"--install", slices.Concat(hostKey, upstream, auto, []string{"--install"})},
	} {
		f := run("", without.more...)
		if code := f.wait(); code != 1 || !strings.Contains(f.output(), "Error: "+without.flag+": ") {
			t.Errorf("without %s: exit status %d, and it prints %q", without.flag, code, f.output())
		}
	}
	for says, more := range map[string][]string{
		"--host-key: the server has no host key with the fingerprint SHA256:": {"--host-key", sshtest.NewKey().Fingerprint()},
		"--upstream \"web\": no port":                                         slices.Concat(hostKey, auto, []string{"--upstream", "web"}),
		"--install contradicts --print-key":                                   {"--install", "--print-key"},
		"--output: ":                                                          {"--output", b.home},
		"--key: the server accepts no key of yours":                           slices.Concat(hostKey, []string{"--key", "existing"}),
	} {
		f := run("", more...)
		if code := f.wait(); code != 1 || !strings.Contains(f.output(), says) {
			t.Errorf("%q: exit status %d, and it prints %q", more, code, f.output())
		}
	}
	unreachable := startCommand(t, c.home, false, "", "init", "deploy@192.0.2.1", "--upstream", "web")
	if code := unreachable.wait(); code != 1 || !strings.Contains(unreachable.output(), "--upstream \"web\": no port") {
		t.Errorf("an upstream that is none, and a server that does not answer: exit status %d", code)
	}
	wrong := run("wrong\n", slices.Concat(hostKey, upstream, auto, []string{"--install"})...)
	if code := wrong.wait(); code != 1 || !strings.Contains(wrong.output(), "refused: password;") || strings.Contains(wrong.output(), "nothing was entered") {
		t.Errorf("with a wrong password: exit status %d, and it prints %q", code, wrong.output())
	}
	if got := b.authorized(); got != "" {
		t.Errorf("authorized_keys has %q", got)
	}

	// The line alone: it has no effect until somebody adds it.
	c2 := newCaddy(t)
	cmd := c2.command(append([]string{"ssh-tunnel"}, b.initArgs(c2, slices.Concat(hostKey, auto, upstream, []string{"--print-key", "--json"})...)...)...)
	out, err := cmd.Output()
	var doc struct {
		OK, Installed bool
		Host          string
		HostKeys      []struct{ Type, Fingerprint, Compare string } `json:"host_keys"`
		HostKey       string                                        `json:"host_key"`
		Key           struct {
			Source, Fingerprint string
			AuthorizedKey       string `json:"authorized_key"`
		}
		Caddyfile  string
		SSHDConfig string `json:"sshd_config"`
	}
	if jsonErr := json.Unmarshal(out, &doc); err != nil || jsonErr != nil {
		t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	if doc.OK || doc.Installed || doc.HostKey != b.HostKey.Fingerprint() || len(doc.HostKeys) != 1 || doc.Key.Source != "auto" || doc.Host != b.Addr() {
		t.Errorf("the document has %+v", doc)
	}
	b.authorize(doc.Key.AuthorizedKey + "\n")
	if checked := c2.check(doc.Caddyfile); !checked.OK {
		t.Errorf("check: %+v", checked)
	}

	// One command and one password.
	c3 := newCaddy(t)
	file := filepath.Join(c3.home, "Caddyfile.new")
	f := startCommand(t, c3.home, false, "correct horse\n", b.initArgs(c3, "--yes", "--upstream", "web.internal:80", "--output", file)...)
	if code := f.wait(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	c3.serveFile(file)
}

// TestInitExisting: a key of the user that the bastion accepts, and a host key that
// known_hosts has, are used.
func TestInitExisting(t *testing.T) {
	t.Parallel()
	b := newFresh(t, "")
	c := newCaddy(t)
	if err := os.MkdirAll(filepath.Join(c.home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeHome(t, c.home, ".ssh/id_ed25519", string(b.identity.PEM("")))
	writeHome(t, c.home, ".ssh/known_hosts", b.HostKeyLine()+"\n")
	b.authorize(b.identity.AuthorizedKey() + "\n")
	file := filepath.Join(c.home, "Caddyfile.new")
	f := startCommand(t, c.home, true, "", b.initArgs(c, "--output", file)...)
	f.answer("The server accepts you: publickey "+b.identity.Fingerprint(), "yes")
	f.answer("Which host and port is the site to reach", "web.internal:80")
	if code := f.wait(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if got := string(readFile(t, file)); !strings.Contains(got, "\t\t\tidentity_file "+filepath.Join(c.home, ".ssh/id_ed25519")+"\n") {
		t.Errorf("the Caddyfile is\n%s", got)
	}
	c.serveFile(file)

	// A key that is named, and that the bastion does not have yet.
	named := sshtest.NewKey()
	writeHome(t, c.home, "named", string(named.PEM("")))
	f = startCommand(t, c.home, false, "", b.initArgs(c, "--upstream", "web.internal:80", "--key", filepath.Join(c.home, "named"), "--print-key")...)
	if code := f.wait(); code != 0 || !strings.Contains(f.output(), " "+named.AuthorizedKey()+" caddy-ssh-tunnel prod\n") {
		t.Errorf("with a key that is named: exit status %d", code)
	}
	f = startCommand(t, c.home, false, "correct horse\n", b.initArgs(c, "--upstream", "web.internal:80", "--key", filepath.Join(c.home, "named"), "--install")...)
	if code := f.wait(); code != 0 || !strings.Contains(b.authorized(), named.AuthorizedKey()) {
		t.Errorf("installing a key that is named: exit status %d", code)
	}
	// What it permits is for that upstream alone.
	f = startCommand(t, c.home, false, "", b.initArgs(c, "--upstream", "web.internal:81", "--key", filepath.Join(c.home, "named"))...)
	if code := f.wait(); code != 1 || !strings.Contains(f.output(), "may permit less than this:\n\nrestrict,port-forwarding,command=\"/usr/sbin/nologin\",permitopen=\"web.internal:81\"") {
		t.Errorf("with another upstream: exit status %d", code)
	}
	// Another host key than the known one.
	writeHome(t, c.home, ".ssh/known_hosts", sshtest.KnownHostsLine(b.Addr(), sshtest.NewKey().PublicKey())+"\n")
	f = startCommand(t, c.home, false, "", b.initArgs(c, "--yes", "--upstream", "web.internal:80")...)
	if code := f.wait(); code != 1 || !strings.Contains(f.output(), "host key mismatch for ") {
		t.Errorf("with another host key: exit status %d", code)
	}
}

// TestInitAlias: a Host of ~/.ssh/config is reached as by ssh, behind a jump, and the
// Caddyfile has no more than its name.
func TestInitAlias(t *testing.T) {
	t.Parallel()
	b := newFresh(t, "")
	jump := sshtest.StartSSHD(t, sshtest.SSHDOptions{Netns: b.netns})
	host, port, err := net.SplitHostPort(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	jumpHost, jumpPort, err := net.SplitHostPort(jump.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c := newCaddy(t)
	if err := os.MkdirAll(filepath.Join(c.home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeHome(t, c.home, ".ssh/config", fmt.Sprintf("Host prod-bastion\n\tHostName %s\n\tPort %s\n\tUser deploy\n\tProxyJump hop\nHost hop\n\tHostName %s\n\tPort %s\n\tUser %s\n\tIdentityFile %s\n",
		host, port, jumpHost, jumpPort, jump.User, jump.ClientKeyFile()))
	writeHome(t, c.home, ".ssh/known_hosts", jump.HostKeyLine()+"\n"+b.HostKeyLine()+"\n")
	site := b.initArgs(c)[4:] // --site …
	file := filepath.Join(c.home, "Caddyfile.new")
	f := startCommand(t, c.home, false, "correct horse\n", append([]string{"init", "prod-bastion", "--upstream", "web.internal:80", "--key", "auto", "--install", "--output", file}, site...)...)
	if code := f.wait(); code != 0 || !strings.Contains(f.output(), ", known by ") {
		t.Fatalf("exit status %d", code)
	}
	want := "\t\ttunnel prod-bastion {\n\t\t\tssh_config prod-bastion\n\t\t\thost_key " + b.HostKey.Fingerprint() + "\n\t\t\tidentity auto\n\t\t}\n"
	if got := string(readFile(t, file)); !strings.Contains(got, want) {
		t.Errorf("the Caddyfile is\n%s", got)
	}
	c.serveFile(file)
	if jump.Logins() == 0 {
		t.Error("nobody has logged in to the jump")
	}

	// What is typed counts before the file.
	f = startCommand(t, c.home, false, "", append([]string{"init", "deploy@prod-bastion:" + port, "--upstream", "web.internal:80", "--name", "prod-bastion", "--key", "auto"}, site...)...)
	want = "\t\t\tssh_config prod-bastion\n\t\t\thost " + b.Addr() + "\n\t\t\tuser deploy\n\t\t\thost_key "
	if code := f.wait(); code != 0 || !strings.Contains(f.output(), want) {
		t.Errorf("with a user and a port: exit status %d", code)
	}
}

// TestInitBlock: the block of sshd_config is enough for what init has set up, and without
// any line of it somebody gets further.
func TestInitBlock(t *testing.T) {
	t.Parallel()
	b := newLeast(t)
	socket, other := serveSocket(t), serveSocket(t)
	for upstream, want := range map[string][]string{"web.internal:80": {"web.internal:80"}, "unix/" + socket: {"a socket"}} {
		c := newCaddy(t)
		writeHome(t, c.home, "key", string(b.identity.PEM("")))
		out, err := c.command("ssh-tunnel", "init", "deploy@"+b.Addr(), "--yes", "--upstream", upstream, "--key", filepath.Join(c.home, "key"), "--json").Output()
		var doc struct {
			OK         bool
			SSHDConfig string `json:"sshd_config"`
		}
		if jsonErr := json.Unmarshal(out, &doc); err != nil || jsonErr != nil || !doc.OK {
			t.Fatalf("%v, %v: %s", err, jsonErr, out)
		}
		lines := strings.Split(strings.TrimSpace(doc.SSHDConfig), "\n")
		rights := func(lines []string) []string {
			strict := b.strictly(t, strictness{config: "X11Forwarding yes\n" + strings.Join(lines, "\n") + "\n"})
			got := strict.rights(t, socket)
			client, err := strict.login(t, "deploy")
			if err != nil {
				t.Fatal(err)
			}
			if conn, err := client.Dial("unix", other); err == nil {
				_ = conn.Close()
				got = append(got, "another socket")
			}
			return got
		}
		if got := rights(lines); !slices.Equal(got, want) {
			t.Errorf("%s: the block permits %q", upstream, got)
		}
		for i, line := range lines {
			if strings.Contains(line, "AllowStreamLocalForwarding") {
				continue // PermitOpen says it as well, unless sshd_config has another default
			}
			if i > 0 && slices.Equal(rights(slices.Delete(slices.Clone(lines), i, i+1)), want) {
				t.Errorf("%s: the block does not need %q", upstream, line)
			}
		}
	}
}
