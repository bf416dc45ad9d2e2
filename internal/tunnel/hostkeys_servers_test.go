//go:build unix

package tunnel

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestAcceptNew connects to sshd: each way to it has a memory of its own, and a
// key that has changed is accepted once the old one is forgotten.
func TestAcceptNew(t *testing.T) {
	edge, sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{}), sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	m := newMemory()
	set := quick()
	set.KeyMemory = m
	config := func(sshd *sshtest.SSHD) Config {
		return Config{
			Name: "test", Address: sshd.Addr(), User: sshd.User, IdentityAgent: "none", IdentitiesOnly: true,
			IdentityFiles: []IdentityFile{{Path: sshd.ClientKeyFile()}}, AcceptNewHostKey: true,
		}
	}
	connect := func(h *Handle) error {
		ctx, cancel := context.WithTimeout(t.Context(), sshtest.Patience)
		defer cancel()
		return h.Connect(ctx)
	}
	within := func(cfg Config) error {
		h := open(t, cfg, set)
		defer closeAndWait(t, h)
		return connect(h)
	}
	if err := within(config(sshd)); err != nil {
		t.Fatal(err)
	}
	outer := open(t, config(edge), set)
	inner := Open(config(sshd), set, outer)
	inner.Start()
	t.Cleanup(func() { closeAndWait(t, inner) })
	if err := connect(inner); err != nil {
		t.Fatal(err)
	}
	name, edgeName := hostkey.KnownName(sshd.Addr(), ""), hostkey.KnownName(edge.Addr(), "")
	for route, key := range map[string]*sshtest.Key{name: sshd.HostKey, edgeName: edge.HostKey, name + " via " + edgeName: sshd.HostKey} {
		if got := m.learned(route); got == nil || !algorithms.SameKey(got, key.PublicKey()) {
			t.Errorf("%s: learned %v", route, got)
		}
	}

	// The same type, so that it is what sshd shows.
	changed := sshtest.NewKey()
	if err := os.WriteFile(filepath.Join(sshd.Dir, "host_key"), changed.PEM(""), 0o600); err != nil {
		t.Fatal(err)
	}
	sshd.Restart()
	h := open(t, config(sshd), set)
	err := connect(h)
	for _, part := range []string{"host key mismatch", sshd.HostKey.Fingerprint(), changed.Fingerprint(), "learned at 2026-01-02T03:04:05Z", "forget " + name} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	postpone(h)
	m.forget()
	sshtest.Eventually(t, 10*time.Second, "the new key is learned", func() bool { return connect(h) == nil })
	if got := m.learned(name); got == nil || !algorithms.SameKey(got, changed.PublicKey()) {
		t.Errorf("learned %v", got)
	}
}

// TestRevokedHostKeys revokes the key, and the authority, of an sshd while the
// tunnel is configured: the next connect sees it.
func TestRevokedHostKeys(t *testing.T) {
	dir := t.TempDir()
	ca, host := filepath.Join(dir, "ca"), filepath.Join(dir, "host")
	sshtest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
	sshtest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host)
	sshtest.Run(t, "ssh-keygen", "-q", "-s", ca, "-I", "bastion", "-h", "-n", "127.0.0.1", host+".pub")
	sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "HostKey " + host + "\nHostCertificate " + host + "-cert.pub\n"})
	revoked := filepath.Join(dir, "revoked")
	sshtest.Write(t, revoked, "# none yet\n")
	cfg := Config{
		Name: "test", Address: sshd.Addr(), User: sshd.User, IdentityAgent: "none", IdentitiesOnly: true,
		IdentityFiles: []IdentityFile{{Path: sshd.ClientKeyFile()}}, HostCertificateAuthorities: []string{ca + ".pub"}, RevokedHostKeys: []string{revoked},
	}
	if warnings, err := cfg.Check(); err != nil || len(warnings) > 0 {
		t.Fatalf("%q, %v", warnings, err)
	}
	for i, test := range []struct{ pub, err string }{
		{"", ""},
		{host + ".pub", "is revoked: ssh-ed25519-cert-v01@openssh.com "},
		{ca + ".pub", "is signed by a revoked authority: "},
		{host + "-cert.pub", "is revoked: ssh-ed25519-cert-v01@openssh.com "},
	} {
		if test.pub != "" {
			sshtest.Run(t, "cp", test.pub, revoked)
		}
		cfg.Name = strconv.Itoa(i) // with no failures from before
		h := open(t, cfg, quick())
		err := h.Connect(t.Context())
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%q revoked: %v", test.pub, err)
		}
		if test.pub == ca+".pub" {
			// What is taken off the list again is accepted at once.
			postpone(h)
			sshtest.Write(t, revoked, "\n")
			sshtest.Eventually(t, 10*time.Second, "a connection", func() bool { return h.Connect(t.Context()) == nil })
		}
		closeAndWait(t, h)
	}
}

// TestNoHostKeyAlgorithms: where only certificates are to be taken and no authority
// is known, nothing is offered in their place. Once one is, the tunnel connects.
func TestNoHostKeyAlgorithms(t *testing.T) {
	dir := t.TempDir()
	ca, host := filepath.Join(dir, "ca"), filepath.Join(dir, "host")
	sshtest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
	sshtest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host)
	sshtest.Run(t, "ssh-keygen", "-q", "-s", ca, "-I", "bastion", "-h", "-n", "127.0.0.1", host+".pub")
	sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "HostKey " + host + "\nHostCertificate " + host + "-cert.pub\n"})
	authority := filepath.Join(dir, "authority.pub")
	for name, edit := range map[string]func(*Config){
		"strict":   func(*Config) {},
		"insecure": func(c *Config) { c.InsecureIgnoreHostKey = true },
		"learning": func(c *Config) { c.AcceptNewHostKey = true },
	} {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(authority)
			cfg := Config{
				Name: name, Address: sshd.Addr(), User: sshd.User, IdentityAgent: "none", IdentitiesOnly: true,
				IdentityFiles: []IdentityFile{{Path: sshd.ClientKeyFile()}}, HostCertificateAuthorities: []string{authority},
				Lists: algorithms.Lists{HostKeyAlgorithms: []string{"ssh-ed25519-cert-v01@openssh.com"}},
			}
			edit(&cfg)
			const want = "host_key_algorithms has certificates alone, and no authority of "
			if warnings, err := cfg.Check(); err != nil || !strings.Contains(strings.Join(warnings, "\n"), want) {
				t.Errorf("at load: %q, %v", warnings, err)
			}
			before := strings.Count(sshd.Log(), "Connection from")
			h := open(t, cfg, quick())
			if err := h.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), want) || failure.CauseOf(err) != failure.CauseConfiguration {
				t.Errorf("got %v (%s)", err, failure.CauseOf(err))
			}
			if n := strings.Count(sshd.Log(), "Connection from") - before; n != 0 {
				t.Errorf("%d connections", n)
			}
			sshtest.Run(t, "cp", ca+".pub", authority)
			sshtest.Eventually(t, 20*time.Second, "a connection", func() bool { return h.Connect(t.Context()) == nil })
			closeAndWait(t, h)
		})
	}
}

// TestMalformedRevocation: a line that is to revoke a key, and cannot be read, is
// an error when the tunnel is loaded, and refuses the bastion when it comes later.
func TestMalformedRevocation(t *testing.T) {
	sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	good, err := os.ReadFile(sshd.KnownHostsFile())
	if err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(t.TempDir(), "known_hosts")
	bad := string(good) + "@revoked * ssh-ed25519 AAAAC3Nza\n"
	want := "known_hosts line " + known + ":" + strconv.Itoa(strings.Count(bad, "\n")) + " is to revoke a key and cannot be read: "
	cfg := Config{
		Name: "test", Address: sshd.Addr(), User: sshd.User, IdentityAgent: "none", IdentitiesOnly: true,
		IdentityFiles: []IdentityFile{{Path: sshd.ClientKeyFile()}}, KnownHosts: []string{known},
	}
	sshtest.Write(t, known, bad)
	if _, err := cfg.Check(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("at load: %v", err)
	}
	sshtest.Write(t, known, string(good))
	if _, err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	sshtest.Write(t, known, bad)
	h := open(t, cfg, quick())
	if err := h.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), want) || failure.CauseOf(err) != failure.CauseConfiguration {
		t.Errorf("at connect: %v (%s)", err, failure.CauseOf(err))
	}
	sshtest.Write(t, known, string(good))
	sshtest.Eventually(t, 20*time.Second, "a connection", func() bool { return h.Connect(t.Context()) == nil })
}
