package hostkey

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// TestRevoked lists keys in all forms, against all that makes them known.
func TestRevoked(t *testing.T) {
	one, two, ca := publicOf(t, edKey(1)), publicOf(t, edKey(2)), signerFor(t, edKey(3))
	cert := certify(t, ssh.HostCert, one, ca, nil)
	renewed := certify(t, ssh.HostCert, one, ca, func(c *ssh.Certificate) { c.Serial++ })
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
		{name: "another", list: authorized(two), key: one},
		{name: "a key", list: "# ours\n" + authorized(one), key: one, err: revoked + "2"},
		{name: "with a comment", list: authorized(one) + " root@old bastion\r\n", key: one, err: revoked + "1"},
		{name: "of known_hosts", list: "other.example,10.0.0.1 " + authorized(one), key: one, err: revoked + "1"},
		{name: "@revoked", list: "@revoked * " + authorized(one), key: one, err: revoked + "1"},
		{name: "of authorized_keys", list: `no-pty,command="ls -l" ` + authorized(one), key: one, err: revoked + "1"},
		{name: "no checking", list: authorized(one), key: one, edit: func(c *Config) { c.InsecureIgnoreHostKey = true }, err: revoked + "1"},
		{name: "a fingerprint", list: authorized(one), key: one, edit: func(c *Config) { c.HostKeys = []string{f1} }, err: revoked + "1"},
		{name: "a certificate's key", list: authorized(one), key: cert, err: `host key of "b.example:22" is revoked: ssh-ed25519-cert-v01@openssh.com ` + f1 + " by rev:1"},
		{name: "a certificate's authority", list: authorized(ca.PublicKey()), key: cert, err: `host certificate of "b.example:22" is signed by a revoked authority: ` + f3 + " by rev:1"},
		{name: "a certificate", list: authorized(cert), key: cert, err: `host certificate of "b.example:22" is revoked: ssh-ed25519-cert-v01@openssh.com ` + f1 + " by rev:1"},
		{name: "the certificate before", list: authorized(cert), key: renewed},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := hostConfig(t, "b.example "+authorized(one)+"\n@cert-authority * "+authorized(ca.PublicKey()))
			path := filepath.Join(filepath.Dir(cfg.KnownHosts[0]), "rev")
			write(t, path, test.list)
			cfg.RevokedHostKeys = []string{os.DevNull, path}
			if test.edit != nil {
				test.edit(cfg)
			}
			_, err := verifyOnce(t, cfg, test.key)
			wantError(t, err, test.err)
		})
	}
}

// TestRevokedFiles has files that are no use: what they revoke must not be
// trusted.
func TestRevokedFiles(t *testing.T) {
	one := publicOf(t, edKey(1))
	dir := t.TempDir()
	load := func(path string) error {
		_, err := Load(t.Context(), &Config{Address: "b.example:22", RevokedHostKeys: []string{path}}, zap.NewNop())
		return err
	}
	for line, number := range map[string]string{
		"ssh-ed25519 AAAA": "1", authorized(one) + "\n\njunk": "3", "sha256:abc": "1", "serial: 5": "1", "SHA256:" + strings.Repeat("A", 43): "1",
	} {
		path := filepath.Join(dir, "rev")
		write(t, path, line)
		wantError(t, load(path), `revoked_host_keys "`+path+`" line `+number+" is not a public key; write one a line, as in a .pub file")
	}
	wantError(t, load(dir), `revoked_host_keys "`+dir+`" cannot be read: is a directory`)

	t.Run("absent", func(t *testing.T) {
		cfg := &Config{Address: "b.example:22", HostKeys: []string{authorized(one)}, RevokedHostKeys: []string{dir + "/absent"}}
		_, err := verifyOnce(t, cfg, one)
		wantError(t, err, `host key of "b.example:22" is not accepted: offered ssh-ed25519 `+ssh.FingerprintSHA256(one)+`, but revoked_host_keys "`+dir+`/absent" does not exist`)
	})
	t.Run("KRL", func(t *testing.T) {
		pub, krl := filepath.Join(dir, "one.pub"), filepath.Join(dir, "krl")
		write(t, pub, authorized(one)+"\n")
		run(t, "ssh-keygen", "-k", "-f", krl, pub)
		wantError(t, load(krl), `revoked_host_keys "`+krl+`" is a binary KRL, which is not supported; list the public keys that it was made of, one a line`)
	})
}

// FuzzRevoked: what is read as a revoked key is one.
func FuzzRevoked(f *testing.F) {
	key := authorized(publicOf(f, edKey(1)))
	for _, s := range []string{key, "b.example " + key, "@revoked * " + key, `command="x" ` + key, "ssh-ed25519", "SSHKRL\n\x00", key[:40]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		key, err := parseRevoked(line)
		if err != nil {
			return
		}
		again, err := parseRevoked(authorized(key))
		if err != nil || !algorithms.SameKey(again, key) {
			t.Errorf("%q is %s, read again %v, %v", line, authorized(key), again, err)
		}
	})
}
