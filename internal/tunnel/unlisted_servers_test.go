//go:build unix

package tunnel

import (
	"fmt"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestRSAKeyOfMatchBlock: sshd lists the algorithms that it accepts before it knows
// the user. OpenSSH's client gets the user's from 9.6 on, and logs in.
func TestRSAKeyOfMatchBlock(t *testing.T) {
	t.Parallel()
	key, ca := sshtest.NewRSAKey(3072), sshtest.NewKey()
	cert := sshtest.Certify(ca, key, ssh.Certificate{CertType: ssh.UserCert, ValidPrincipals: []string{"root", "deploy"}, Permissions: ssh.Permissions{Extensions: map[string]string{"permit-port-forwarding": ""}}})
	for name, test := range map[string]struct {
		matched string
		cert    *ssh.Certificate
	}{
		"key":         {"rsa-sha2-512,rsa-sha2-256", nil},
		"certificate": {"rsa-sha2-512-cert-v01@openssh.com", cert},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			authorities := sshtest.WriteFile(t, "ca", []byte(ca.AuthorizedKey()+"\n"))
			s := sshtest.StartSSHD(t, sshtest.SSHDOptions{AuthorizedKeys: []string{key.AuthorizedKey()}, Config: fmt.Sprintf(
				"TrustedUserCAKeys %s\nPubkeyAcceptedAlgorithms ssh-ed25519\nMatch User *\nPubkeyAcceptedAlgorithms %s\n", authorities, test.matched)})
			cfg := Config{Name: t.Name(), Address: s.Addr(), User: s.User, IdentityAgent: "none", KnownHosts: []string{s.KnownHostsFile()}}
			cfg.IdentityFiles = []IdentityFile{{Path: sshtest.WriteFile(t, "id", key.PEM(""))}}
			if test.cert != nil {
				sshtest.Write(t, cfg.IdentityFiles[0].Path+"-cert.pub", sshtest.AuthorizedKey(test.cert))
			}
			h := open(t, cfg, quick())
			if err := h.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			if used := h.Status().Attempts[0].Certificates; (len(used) > 0) != (test.cert != nil) {
				t.Errorf("certificates: %+v", used)
			}
		})
	}
}
