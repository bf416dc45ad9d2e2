package hostkey

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestRevoked lists keys in all forms, against all that makes them known.
func TestRevoked(t *testing.T) {
	one, two, ca := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2)), sshtest.SignerFor(t, sshtest.EdKey(3))
	cert := sshtest.CertifyKey(t, ssh.HostCert, one, ca, nil)
	renewed := sshtest.CertifyKey(t, ssh.HostCert, one, ca, func(c *ssh.Certificate) { c.Serial++ })
	f1, f3 := ssh.FingerprintSHA256(one), ssh.FingerprintSHA256(ca.PublicKey())
	revoked := `host key of "b.example:22" is revoked: ssh-ed25519 ` + f1 + " by rev:"

	for _, test := range []struct {
		name string
		list string
		key  ssh.PublicKey
		edit func(*Config)
		err  string
	}{
		{name: "empty", list: "# none\n\n", key: one},
		{name: "another", list: sshtest.AuthorizedKey(two), key: one},
		{name: "a key", list: "# ours\n" + sshtest.AuthorizedKey(one), key: one, err: revoked + "2"},
		{name: "with a comment", list: sshtest.AuthorizedKey(one) + " root@old bastion\r\n", key: one, err: revoked + "1"},
		{name: "of known_hosts", list: "other.example,10.0.0.1 " + sshtest.AuthorizedKey(one), key: one, err: revoked + "1"},
		{name: "@revoked", list: "@revoked * " + sshtest.AuthorizedKey(one), key: one, err: revoked + "1"},
		{name: "of authorized_keys", list: `no-pty,command="ls -l" ` + sshtest.AuthorizedKey(one), key: one, err: revoked + "1"},
		{name: "no checking", list: sshtest.AuthorizedKey(one), key: one, edit: func(c *Config) { c.InsecureIgnoreHostKey = true }, err: revoked + "1"},
		{name: "a fingerprint", list: sshtest.AuthorizedKey(one), key: one, edit: func(c *Config) { c.HostKeys = []string{f1} }, err: revoked + "1"},
		{name: "a certificate's key", list: sshtest.AuthorizedKey(one), key: cert, err: `host key of "b.example:22" is revoked: ssh-ed25519-cert-v01@openssh.com ` + f1 + " by rev:1"},
		{name: "a certificate's authority", list: sshtest.AuthorizedKey(ca.PublicKey()), key: cert, err: `host certificate of "b.example:22" is signed by a revoked authority: ` + f3 + " by rev:1"},
		{name: "a certificate", list: sshtest.AuthorizedKey(cert), key: cert, err: `host certificate of "b.example:22" is revoked: ssh-ed25519-cert-v01@openssh.com ` + f1 + " by rev:1"},
		{name: "the certificate before", list: sshtest.AuthorizedKey(cert), key: renewed},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := hostConfig(t, "b.example "+sshtest.AuthorizedKey(one)+"\n@cert-authority * "+sshtest.AuthorizedKey(ca.PublicKey()))
			path := filepath.Join(filepath.Dir(cfg.KnownHosts[0]), "rev")
			sshtest.Write(t, path, test.list)
			cfg.RevokedHostKeys = []string{os.DevNull, path}
			if test.edit != nil {
				test.edit(cfg)
			}
			_, err := verifyOnce(t, cfg, test.key)
			sshtest.WantError(t, err, test.err)
		})
	}
}

// TestRevokedFiles has files that are no use: what they revoke must not be
// trusted.
func TestRevokedFiles(t *testing.T) {
	one := sshtest.PublicOf(t, sshtest.EdKey(1))
	dir := t.TempDir()
	load := func(path string) error {
		_, err := Load(t.Context(), &Config{Address: "b.example:22", RevokedHostKeys: []string{path}}, zap.NewNop())
		return err
	}
	for line, number := range map[string]string{
		"ssh-ed25519 AAAA": "1", sshtest.AuthorizedKey(one) + "\n\njunk": "3", "sha256:abc": "1", "serial: 5": "1", "SHA256:" + strings.Repeat("A", 43): "1",
	} {
		path := filepath.Join(dir, "rev")
		sshtest.Write(t, path, line)
		sshtest.WantError(t, load(path), `revoked_host_keys "`+path+`" line `+number+" is not a public key; write one a line, as in a .pub file")
	}
	sshtest.WantError(t, load(dir), `revoked_host_keys "`+dir+`" cannot be read: is a directory`)

	t.Run("absent", func(t *testing.T) {
		cfg := &Config{Address: "b.example:22", HostKeys: []string{sshtest.AuthorizedKey(one)}, RevokedHostKeys: []string{dir + "/absent"}}
		_, err := verifyOnce(t, cfg, one)
		sshtest.WantError(t, err, `host key of "b.example:22" is not accepted: offered ssh-ed25519 `+ssh.FingerprintSHA256(one)+`, but revoked_host_keys "`+dir+`/absent" does not exist`)
	})
	t.Run("KRL", func(t *testing.T) {
		pub, krl := filepath.Join(dir, "one.pub"), filepath.Join(dir, "krl")
		sshtest.Write(t, pub, sshtest.AuthorizedKey(one)+"\n")
		sshtest.Run(t, "ssh-keygen", "-k", "-f", krl, pub)
		sshtest.WantError(t, load(krl), `revoked_host_keys "`+krl+`" is a binary KRL, which is not supported; list the public keys that it was made of, one a line`)
	})
}

// FuzzRevoked: what is read as a revoked key is one.
func FuzzRevoked(f *testing.F) {
	key := sshtest.AuthorizedKey(sshtest.PublicOf(f, sshtest.EdKey(1)))
	for _, s := range []string{key, "b.example " + key, "@revoked * " + key, `command="x" ` + key, "ssh-ed25519", "SSHKRL\n\x00", key[:40]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		key, err := parseRevoked(line)
		if err != nil {
			return
		}
		again, err := parseRevoked(sshtest.AuthorizedKey(key))
		if err != nil || !algorithms.SameKey(again, key) {
			t.Errorf("%q is %s, read again %v, %v", line, sshtest.AuthorizedKey(key), again, err)
		}
	})
}
