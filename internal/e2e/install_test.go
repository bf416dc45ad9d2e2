//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// install_test.go installs keys on bastions that have none, with a password.

// TestInstall: the command adds the line once, in a login with a password, whatever
// authorized_keys has; then the tunnel works.
func TestInstall(t *testing.T) {
	t.Parallel()
	b := newFresh(t, "")
	c := newCaddy(t)
	file := c.caddyfile(b.tunnel("prod"), "", proxied)
	config := filepath.Join(c.home, "Caddyfile")
	writeHome(t, c.home, "Caddyfile", file)

	f := startCommand(t, c.home, true, "", "public-key", "--install", "--config", config, "--adapter", "caddyfile")
	f.answer("password of deploy at "+b.Addr()+": ", "wrong")
	sshtest.Eventually(t, patience, "it asks again", func() bool { return strings.Count(f.terminal(), "password of deploy") == 2 })
	f.answer("password of deploy", "correct horse")
	if code := f.wait(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	for _, want := range []string{"the password was not accepted\n", "added the key to ~deploy/.ssh/authorized_keys at " + b.Addr() + "\n", "tunnel prod: all is well\n"} {
		if !strings.Contains(f.output(), want) {
			t.Errorf("it does not print %q", want)
		}
	}
	line, _ := c.printed(file, "public-key")
	if got := b.authorized(); got != line || !strings.HasPrefix(line, "restrict,") {
		t.Errorf("authorized_keys has %q, want %q", got, line)
	}
	for name, mode := range map[string]os.FileMode{".ssh": 0o700, ".ssh/authorized_keys": 0o600} {
		if info, err := os.Stat(filepath.Join(b.home, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	c.start(file)
	c.wantServed()

	keys := filepath.Join(b.home, ".ssh/authorized_keys")
	before := "# a comment\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE68RdFbbrufQNOywS7nVp3vRBSNGhBGO6srWqNcwvsh somebody"
	for _, test := range []struct{ name, before, after, says string }{
		{"once", line, line, "has the key already"},
		{"without a line end", before, before + "\n" + line, "added the key"},
		{"in a comment", "# " + line, "# " + line + line, "added the key"},
		{"with other options", "no-pty " + b.identity.AuthorizedKey(), "no-pty " + b.identity.AuthorizedKey(), "with other options"},
	} {
		// It stays deploy's, and for deploy alone.
		if err := os.WriteFile(keys, []byte(test.before), 0o600); err != nil {
			t.Fatal(err)
		}
		f := startCommand(t, c.home, false, "correct horse\n", "public-key", "--install", "--config", config, "--adapter", "caddyfile")
		if code := f.wait(); code != 0 != (test.name == "with other options") {
			t.Errorf("%s: exit status %d", test.name, code)
		}
		if got := b.authorized(); got != test.after || !strings.Contains(f.output(), test.says) {
			t.Errorf("%s: authorized_keys has %q, and it prints %q", test.name, got, f.output())
		}
	}
}

// TestInstallAuto installs the key of identity auto, and then another that replaces it,
// while requests go through the tunnel.
func TestInstallAuto(t *testing.T) {
	t.Parallel()
	b := newFresh(t, "")
	c := newCaddy(t)
	file := c.caddyfile(b.tunnelTo("prod", "deploy@"+b.Addr(), "identity auto"), "", proxied)
	writeHome(t, c.home, "Caddyfile", file)
	install := func(more ...string) {
		t.Helper()
		args := append([]string{"public-key", "--install", "--config", filepath.Join(c.home, "Caddyfile"), "--adapter", "caddyfile"}, more...)
		f := startCommand(t, c.home, false, "correct horse\n", args...)
		if code := f.wait(); code != 0 || !strings.Contains(f.output(), "tunnel prod: all is well\n") {
			t.Fatalf("exit status %d", code)
		}
	}
	install()
	first, _ := c.printed(file, "public-key")
	if got := b.authorized(); got != first || !strings.Contains(first, " ssh-ed25519 ") {
		t.Errorf("authorized_keys has %q, want %q", got, first)
	}
	c.start(file)
	c.wantServed()

	install("--rotate")
	second, _ := c.printed(file, "public-key", "--rotate") // there is one already
	if got := b.authorized(); got != first+second || first == second {
		t.Errorf("authorized_keys has %q, want %q and %q", got, first, second)
	}
	if out, err := c.command("ssh-tunnel", "reconnect", "prod").CombinedOutput(); err != nil {
		t.Fatalf("reconnecting: %v: %s", err, out)
	}
	sshtest.Eventually(t, patience, "the old key is deleted", func() bool {
		c.wantServed()
		return c.logged("replaced the key of identity auto; the old one is deleted")
	})
	if now, _ := c.printed(file, "public-key"); now != second {
		t.Errorf("it then prints %q, want %q", now, second)
	}
}

// TestInstallFails: what keeps the line from being added is said, with the line.
func TestInstallFails(t *testing.T) {
	t.Parallel()
	b := newFresh(t, "")
	c := newCaddy(t)
	writeHome(t, c.home, "Caddyfile", c.caddyfile(b.tunnel("prod"), "", proxied))
	install := func(stdin string) *forwarding {
		return startCommand(t, c.home, false, stdin, "public-key", "--install", "--config", filepath.Join(c.home, "Caddyfile"), "--adapter", "caddyfile")
	}
	const line = `add this line there: restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="web.internal:80"`
	for config, says := range map[string]string{
		"ForceCommand /usr/sbin/nologin\n": "the command there ends with status 1: This account is currently not available.",
		"ForceCommand echo hello\n":        "the bastion runs something else for this user: hello",
		"MaxSessions 0\n":                  "opening a session: ",
	} {
		b.Reconfigure(config)
		f := install("correct horse\n")
		if code := f.wait(); code != 1 || !strings.Contains(f.output(), says) || !strings.Contains(f.output(), line) {
			t.Errorf("%q: exit status %d", config, code)
		}
	}
	b.Reconfigure("")
	if f := install("wrong\n"); f.wait() != 1 || !strings.Contains(f.output(), `authentication as "deploy" failed`) {
		t.Error("with a wrong password it does not say so")
	}
	if f := install(""); f.wait() != 1 || !strings.Contains(f.output(), "--install: nothing was entered") {
		t.Error("without a password it does not say so")
	}
	if got := b.authorized(); got != "" {
		t.Errorf("authorized_keys has %q", got)
	}
}

// TestInstallBehind installs through a tunnel that the bastion is behind.
func TestInstallBehind(t *testing.T) {
	t.Parallel()
	b := newFresh(t, "")
	jump := sshtest.StartSSHD(t, sshtest.SSHDOptions{Netns: b.netns})
	c := newCaddy(t)
	tunnels := fmt.Sprintf("tunnel jump %s@%s {\nhost_key %s\nidentity_file %s\n}\n", jump.User, jump.Addr(), jump.HostKey.Fingerprint(), jump.ClientKeyFile()) +
		b.tunnel("prod", "proxy_jump jump")
	writeHome(t, c.home, "Caddyfile", c.caddyfile(tunnels, "", proxied))
	f := startCommand(t, c.home, false, "correct horse\n", "public-key", "prod", "--install", "--config", filepath.Join(c.home, "Caddyfile"), "--adapter", "caddyfile")
	if code := f.wait(); code != 0 || !strings.Contains(b.authorized(), b.identity.AuthorizedKey()) {
		t.Errorf("exit status %d, and authorized_keys has %q", code, b.authorized())
	}
	if jump.Logins() == 0 || b.Logins() != 2 { // one with the password, and that of check
		t.Errorf("%d logins at the jump, %d behind it", jump.Logins(), b.Logins())
	}
}

// TestInstallDropbear: the line for Dropbear has the options that it knows, and with the key
// it reaches what the configuration needs, and no other target.
func TestInstallDropbear(t *testing.T) {
	t.Parallel()
	d := sshtest.StartDropbear(t, sshtest.DropbearOptions{})
	web, other := sshtest.NewWeb(t, sshtest.WebOptions{}), sshtest.NewWeb(t, sshtest.WebOptions{})
	c := newCaddy(t)
	if err := os.MkdirAll(filepath.Join(c.home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeHome(t, c.home, ".ssh/id_ed25519", string(d.ClientKey.PEM("")))
	tunnel := fmt.Sprintf("tunnel prod %s@%s {\nhost_key %s\nidentity auto\n}\n", d.User, d.Addr(), d.HostKey.Fingerprint())
	file := c.caddyfile(tunnel, "", strings.Replace(proxied, "web.internal:80", web.Addr(), 1))
	writeHome(t, c.home, "Caddyfile", file)

	f := startCommand(t, c.home, false, "", "public-key", "--install", "--config", filepath.Join(c.home, "Caddyfile"), "--adapter", "caddyfile")
	if code := f.wait(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	for _, want := range []string{"added the key", "# Dropbear has no permitlisten", "tunnel prod: all is well\n"} {
		if !strings.Contains(f.output(), want) {
			t.Errorf("it does not print %q", want)
		}
	}
	line, notes := c.printed(file, "public-key", "--dropbear")
	if want := `no-pty,no-agent-forwarding,no-X11-forwarding,command="/usr/sbin/nologin",permitopen="` + web.Addr() + `" ssh-ed25519 `; !strings.HasPrefix(line, want) || !strings.HasPrefix(notes, "# Dropbear has no permitlisten") {
		t.Errorf("it prints %q and %q, want %q", line, notes, want)
	}
	if checked := c.check(file, "--target", other.Addr()); checked.OK {
		t.Error("another target is reached")
	}
	c.start(file)
	c.wantServed()
}
