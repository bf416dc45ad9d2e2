//go:build linux

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// rotation_test.go replaces a bastion's host key while it serves.

// TestHostKeyRotation rotates the host key of a bastion as docs/host-keys.md says, with
// two instances of Caddy on one storage, requests coming all along and a stream that
// outlives it all. No request fails, and nobody has to do anything about the key.
func TestHostKeyRotation(t *testing.T) {
	t.Parallel()
	more := t.TempDir()
	b := newBastion(t, "Include "+more+"/*.conf\n")
	name, _, _ := strings.Cut(sshtest.KnownHostsLine(b.Addr(), b.HostKey.PublicKey()), " ")
	storage := t.TempDir()
	config := func(c *caddy) string {
		tunnel := "tunnel prod deploy@" + b.Addr() + " {\nconnect_timeout 30s\nidentity_file " + b.key + "\nstrict_host_key_checking accept-new\n}\n"
		return c.caddyfile(tunnel, "storage file_system "+storage, patient)
	}
	// The first learns the key, and leaves the connection on which it does.
	one := startCaddy(t, config)
	one.wantServed()
	one.stop(patience)
	one.start(config(one))
	two := startCaddy(t, config)
	both := []*caddy{one, two}
	for _, c := range both {
		c.wantServed()
	}
	stream := two.stream("/size/1000000000?chunk=1000&every=10ms")

	clients := startVisitors(t, 8, both...)
	const updated = "the bastion's learned host keys are updated"
	reconnect := func(c *caddy) {
		t.Helper()
		if out, errs, exit := c.ssh("reconnect", "prod"); exit != 0 {
			t.Fatalf("reconnect: %s%s", out, errs)
		}
	}
	learned := func() string {
		t.Helper()
		out, err := one.configured(config(one), "ssh-tunnel", "known-hosts").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	hasKey := func(c *caddy, fingerprint string) bool {
		for _, connection := range c.status("prod").Connections {
			if connection.HostKey == fingerprint {
				return true
			}
		}
		return false
	}

	old, next := b.HostKey, sshtest.NewKey()
	file := filepath.Join(more, "next")
	sshtest.Write(t, file, string(next.PEM("")))
	sshtest.Write(t, filepath.Join(more, "next.conf"), "HostKey "+file+"\n")
	b.Reconfigure("")
	reconnect(one)
	sshtest.Eventually(t, patience, "the new key is learned", func() bool { return strings.Contains(learned(), next.Fingerprint()) })
	if list := learned(); strings.Count(list, name+" ") != 2 || !strings.Contains(list, old.Fingerprint()) {
		t.Errorf("known-hosts lists\n%s", list)
	}

	sshtest.Write(t, filepath.Join(b.Dir, "host_key"), string(next.PEM("")))
	sshtest.Write(t, filepath.Join(more, "next.conf"), "")
	b.Reconfigure("")
	for _, c := range both {
		reconnect(c)
	}
	for _, c := range both {
		sshtest.Eventually(t, patience, "a connection with the new key", func() bool { return hasKey(c, next.Fingerprint()) })
	}
	sshtest.Eventually(t, patience, "the old key is forgotten", func() bool { return !strings.Contains(learned(), old.Fingerprint()) })
	before := clients.requests.Load()
	sshtest.Eventually(t, patience, "requests go on", func() bool { return clients.requests.Load() > before+8 })
	stream.read(10_000)
	clients.end()
	stream.read(10_000)
	t.Logf("%d requests", clients.requests.Load())

	for what, fingerprint := range map[string]string{"added": next.Fingerprint(), "removed": old.Fingerprint()} {
		if !one.logged("info", updated, what+":[ssh-ed25519 "+fingerprint+"]") && !two.logged("info", updated, what+":[ssh-ed25519 "+fingerprint+"]") {
			t.Errorf("no log says that %s was %s", fingerprint, what)
		}
	}
	// With all connections lost, the new key is all that there is.
	b.Restart()
	for _, c := range both {
		c.wantServed()
		if c.logged("host key mismatch") || c.logged("are not updated") {
			t.Error("the log has a wrong key")
		}
	}
}
