//go:build unix

package hostkey

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestHostCertificatesBesideSSH: we decide as ssh on certificates of ssh-keygen -s, which
// a server shows alone.
func TestHostCertificatesBesideSSH(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, kind := range map[string]string{"ca": "ed25519", "rsa": "rsa", "other": "ed25519"} {
		sshtest.Run(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", filepath.Join(dir, name))
	}
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	public := func(name string) string { return read(filepath.Join(dir, name+".pub")) }
	authority := func(hosts, name string) string { return "@cert-authority " + hosts + " " + public(name) + "\n" }
	hashed := hashedName([]byte("01234567890123456789"), labName)
	for _, c := range []struct {
		name, sign string // sign are the arguments of ssh-keygen -s
		ca, known  string
		port       int
		in         bool
		since      bool // ssh decides so since OpenSSH 10.3
	}{
		{name: "valid", sign: "-h -n b.example", in: true},
		{name: "pattern of the authority", sign: "-h -n b.example", known: authority("*.example,!c.example", "ca"), in: true},
		{name: "hashed name of the authority", sign: "-h -n b.example", known: authority(hashed, "ca"), in: true},
		{name: "authority of a port", sign: "-h -n b.example", known: authority("[b.example]:2222", "ca"), port: 2222, in: true},
		{name: "authority of the bare name", sign: "-h -n b.example", known: authority("b.example", "ca"), port: 2222, in: true},
		{name: "authority of another port", sign: "-h -n b.example", known: authority("[b.example]:2222", "ca")},
		{name: "several names", sign: "-h -n a.example,b.example", in: true},
		{name: "pattern", sign: "-h -n *.example", in: true, since: true},
		{name: "name and port", sign: "-h -n [b.example]:2222", port: 2222},
		{name: "capitals", sign: "-h -n B.EXAMPLE"},
		{name: "another name", sign: "-h -n c.example"},
		{name: "expired", sign: "-h -n b.example -V 20200101:20200102"},
		{name: "not yet valid", sign: "-h -n b.example -V 20900101:20910101"},
		{name: "in its time", sign: "-h -n b.example -V -1d:+1d", in: true},
		{name: "critical option", sign: "-h -n b.example -O critical:x@example.com=1"},
		{name: "extension", sign: "-h -n b.example -O extension:x@example.com=1", in: true},
		{name: "user certificate", sign: "-n b.example"},
		{name: "RSA authority", ca: "rsa", sign: "-h -n b.example -t rsa-sha2-256", known: authority("*", "rsa"), in: true},
		{name: "SHA-1", ca: "rsa", sign: "-h -n b.example -t ssh-rsa", known: authority("*", "rsa")},
		{name: "another authority", sign: "-h -n b.example", known: authority("*", "other")},
		{name: "revoked authority", sign: "-h -n b.example", known: authority("*", "ca") + "@revoked * " + public("ca") + "\n"},
		{name: "expired, its key is known", sign: "-h -n b.example -V 20200101:20200102", known: authority("*", "ca") + "b.example HOST\n", in: true},
		{name: "another name, its key is known", sign: "-h -n c.example", known: "b.example HOST\n", in: true},
		{name: "its key is revoked", sign: "-h -n b.example", known: authority("*", "ca") + "@revoked * HOST\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			host := filepath.Join(t.TempDir(), "host")
			sshtest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host)
			if c.ca == "" {
				c.ca = "ca"
			}
			sshtest.Run(t, "ssh-keygen", append(append([]string{"-q", "-s", filepath.Join(dir, c.ca), "-I", "bastion"}, strings.Fields(c.sign)...), host+".pub")...)
			if c.known == "" {
				c.known = authority("*", "ca")
			}
			if c.port == 0 {
				c.port = 22
			}
			lab := &hostLab{client: sshtest.NewKey()}
			lab.servers = map[string]*sshtest.SSHD{"it": sshtest.StartSSHD(t, sshtest.SSHDOptions{
				AuthorizedKeys: []string{lab.client.AuthorizedKey()},
				Config:         "HostKey " + host + "\nHostCertificate " + host + "-cert.pub\nHostKeyAlgorithms " + ssh.CertAlgoED25519v01 + "\n",
			})}
			known := strings.ReplaceAll(c.known, "HOST", read(host+".pub"))
			we, they, why := lab.accepts(t, "it", c.port, "", sshtest.WriteFile(t, "known_hosts", []byte(known)))
			if we != c.in || they != c.in && !c.since {
				t.Errorf("we accept: %v, ssh: %v, want %v\n%s", we, they, c.in, why)
			}
		})
	}
}
