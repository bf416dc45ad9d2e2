//go:build unix

package tunnel

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestCertificateOptions: sshd refuses certificates for their critical options, and
// does not say so. The error does, where ssh is refused as well.
func TestCertificateOptions(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca")
	sshtest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "TrustedUserCAKeys " + ca + ".pub\n"})
	for name, c := range map[string]struct {
		options []string
		says    string
		fix     string
	}{
		"none":           {nil, "", ""},
		"ours":           {[]string{"-O", "source-address=127.0.0.0/8"}, "", ""},
		"command":        {[]string{"-O", "force-command=true"}, "", ""},
		"another source": {[]string{"-O", "source-address=192.0.2.0/24,2001:db8::/32"}, `is for connections from "192.0.2.0/24,2001:db8::/32" alone (source-address)`, "source-address lists"},
		"unknown":        {[]string{"-O", "critical:login@example.com=x"}, `has the critical option "login@example.com"`, "without that critical option"},
		"another user":   {[]string{"-n", "somebody-else"}, `is for "somebody-else"`, "sign the certificate for this user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := filepath.Join(t.TempDir(), "key")
			sshtest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
			args := append([]string{"-q", "-s", ca, "-I", "test", "-n", d.User}, c.options...)
			sshtest.Run(t, "ssh-keygen", append(args, key+".pub")...)
			cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
			cfg.Name, cfg.User, cfg.IdentityFiles = name, d.User, []IdentityFile{{Path: key}}
			accepted, said := sshLogin(t, cfg, "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
			if accepted != (c.says == "") {
				t.Errorf("ssh: %v\n%s", accepted, said)
			}
			err := open(t, cfg, quick()).Connect(t.Context())
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refused, ok := errors.AsType[*failure.AuthError](err)
			if !ok || !strings.Contains(refused.Message, c.says) || !strings.Contains(refused.Fix, c.fix) || (refused.Fix == "") != (c.fix == "") {
				t.Errorf("got %+v (%v), want %q and %q", refused, err, c.says, c.fix)
			}
		})
	}
}
