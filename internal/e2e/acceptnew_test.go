//go:build linux

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// acceptnew_test.go trusts a host key at first use.

// TestAcceptNew learns a bastion's key, has Caddy restart, then the bastion come
// back with another key: that is refused until a person has the old one
// forgotten, and nothing else is done about it then.
func TestAcceptNew(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	config := func(c *caddy) string {
		return c.caddyfile("tunnel prod deploy@"+b.Addr()+" {\nidentity_file "+b.key+"\nstrict_host_key_checking accept-new\n}\n", "", proxied)
	}
	knownHosts := func(c *caddy, args ...string) string {
		t.Helper()
		out, err := c.configured(config(c), append([]string{"ssh-tunnel", "known-hosts"}, args...)...).Output()
		if err != nil {
			t.Fatalf("known-hosts %q: %v", args, err)
		}
		return string(out)
	}
	c := startCaddy(t, config)
	c.wantServed()
	old := b.HostKey.Fingerprint()
	if !c.logged("warn", "learned the host key", old) {
		t.Error("the log does not say which key was learned")
	}
	name := sshtest.KnownHostsLine(b.Addr(), b.HostKey.PublicKey())
	name, _, _ = strings.Cut(name, " ")
	if list := knownHosts(c); !strings.Contains(list, name+" ") || !strings.Contains(list, "ssh-ed25519 "+old) {
		t.Errorf("known-hosts lists\n%s", list)
	}

	c.stop(patience)
	c.start(config(c))
	c.wantServed()
	if c.logged("learned the host key") {
		t.Error("the key was learned again after a restart")
	}

	changed := sshtest.NewKey()
	if err := os.WriteFile(filepath.Join(b.Dir, "host_key"), changed.PEM(""), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Restart()
	forget := "caddy ssh-tunnel known-hosts forget '" + name + "'"
	sshtest.Eventually(t, patience, "the changed key is refused", func() bool {
		return c.logged("error", "host key mismatch", "offered ssh-ed25519 "+changed.Fingerprint(), "expected ssh-ed25519 "+old+" (learned at 20", forget)
	})
	if a := c.get("/hello"); a.status != http.StatusServiceUnavailable {
		t.Errorf("with a changed key: %v", a)
	}

	if out := knownHosts(c, "forget", name); out != "forgot the host key of "+name+": ssh-ed25519 "+old+"\n" {
		t.Errorf("forget printed %q", out)
	}
	sshtest.Eventually(t, patience, "the new key is learned", func() bool {
		return c.get("/hello").status == http.StatusOK
	})
	if !c.logged("warn", "learned the host key", changed.Fingerprint()) {
		t.Error("the log does not say that the changed key was learned")
	}

	// What is configured counts before what was learned.
	c.reload(strings.ReplaceAll(config(c), "strict_host_key_checking accept-new", "strict_host_key_checking accept-new\nhost_key "+old))
	sshtest.Eventually(t, patience, "the key that is not configured is refused", func() bool {
		return c.logged("error", "host key mismatch", "expected "+old+" (host_key)")
	})
}
