package hostkey

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestVerifyCertificate(t *testing.T) {
	host, ca, other := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.SignerFor(t, sshtest.EdKey(2)), sshtest.SignerFor(t, sshtest.EdKey(3))
	rsaCA := sshtest.SignerFor(t, sshtest.RSAKey(t, 2048)).(ssh.AlgorithmSigner)
	sha1CA, err := ssh.NewSignerWithAlgorithms(rsaCA, []string{ssh.KeyAlgoRSA})
	if err != nil {
		t.Fatal(err)
	}
	shortCA := sshtest.SignerFor(t, sshtest.RSAKey(t, 1024))
	trust := func(host string, ca ssh.Signer) string {
		return "@cert-authority " + host + " " + sshtest.AuthorizedKey(ca.PublicKey()) + "\n"
	}
	fp, fpCA := ssh.FingerprintSHA256(host), ssh.FingerprintSHA256(ca.PublicKey())
	refused := `host certificate of "b.example:22" is refused: ssh-ed25519-cert-v01@openssh.com ` + fp + " "
	const kindHost = ssh.HostCert

	for _, test := range []struct {
		name  string
		kind  uint32
		ca    ssh.Signer
		cert  func(*ssh.Certificate)
		known string // "" trusts ca for *
		edit  func(*Config)
		spoil bool // change the certificate after it was signed
		err   string
	}{
		{name: "valid"},
		{name: "by option", known: "x " + sshtest.AuthorizedKey(host), edit: func(c *Config) { c.HostCertificateAuthorities = []string{sshtest.AuthorizedKey(ca.PublicKey())} }},
		{name: "one of several principals", cert: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"a", "b.example"} }},
		{name: "pattern", cert: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"*.example"} }},
		{name: "pattern of single characters", cert: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"?.exampl?"} }},
		{name: "pattern for any host", cert: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"*"} }},
		{name: "alias", edit: func(c *Config) { c.HostKeyAlias = "Prod" }, cert: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"prod"} }},
		{name: "port is no part of a principal", known: trust("[b.example]:2222", ca), edit: func(c *Config) { c.Address = "b.example:2222" }},
		{name: "bare name of a port", known: trust("b.example", ca), edit: func(c *Config) { c.Address = "b.example:2222" }},
		{name: "for ever", cert: func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 0, ssh.CertTimeInfinity }},
		{name: "RSA authority", ca: rsaCA},
		{name: "short authority where allowed", ca: shortCA, edit: func(c *Config) { c.RequiredRSASize = 1024 }},
		{name: "SHA-1 where written", ca: sha1CA, edit: func(c *Config) { c.CASignatureAlgorithms = []string{"ssh-rsa"} }},
		{name: "invalid, but its bare key is known", known: trust("*", ca) + "b.example " + sshtest.AuthorizedKey(host), cert: func(c *ssh.Certificate) { c.ValidBefore = 1 }},
		{name: "invalid, but its bare key's fingerprint is known", known: trust("*", other), edit: func(c *Config) { c.HostKeys = []string{fp} }},

		{name: "user certificate", kind: ssh.UserCert, err: refused + "is not a host certificate"},
		{name: "expired", cert: func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1, 86400 }, err: refused + "expired on 1970-01-02T00:00:00Z"},
		{name: "not yet valid", cert: func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1<<33, 1<<34 }, err: refused + "is not valid before 2242-03-16T12:56:32Z"},
		{name: "no principal", cert: func(c *ssh.Certificate) { c.ValidPrincipals = nil }, err: refused + `is for no name at all, not for "b.example"; sign it for that name, or set host_key_alias`},
		{
			name: "other principals", cert: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"a", "*.com"} },
			err: refused + `is for "a", "*.com", not for "b.example"; sign it for that name, or set host_key_alias`,
		},
		{name: "a list is no pattern", cert: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"a.example,b.example"} }, err: refused + `is for "a.example,b.example", not for "b.example"; sign it for that name, or set host_key_alias`},
		{name: "a negation is no pattern", cert: func(c *ssh.Certificate) { c.ValidPrincipals = []string{"!a.example"} }, err: refused + `is for "!a.example", not for "b.example"; sign it for that name, or set host_key_alias`},
		{name: "host instead of alias", edit: func(c *Config) { c.HostKeyAlias = "prod" }, err: refused + `is for "b.example", not for "prod"; sign it for that name, or set host_key_alias`},
		{
			name: "critical option", cert: func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "x"} },
			err: refused + `is not valid: unsupported critical option "force-command" in certificate`,
		},
		{name: "spoiled", spoil: true, err: refused + "is not valid: certificate signature does not verify"},
		{
			name: "other authority", known: trust("b.example", other) + trust("c.example", ca),
			err: refused + "is signed by " + fpCA + ", which is none of its authorities: " + ssh.FingerprintSHA256(other.PublicKey()) + " (kh:1); add host_certificate_authority if it should be",
		},
		{name: "no authority, plain key", known: "b.example " + sshtest.AuthorizedKey(host)},
		{
			name: "nothing about it", known: "x " + sshtest.AuthorizedKey(host),
			err: `host key of "b.example:22" is unknown: offered ssh-ed25519 ` + fp + "; searched kh for b.example; compare it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the bastion, then add host_key " + fp +
				" or a known_hosts line, or host_certificate_authority with the key " + fpCA + ", which has signed its certificate",
		},
		{name: "SHA-1", ca: sha1CA, err: refused + `is signed with "ssh-rsa", which is not among ca_signature_algorithms; sign it anew with ssh-keygen -t rsa-sha2-512 -s, or add it there`},
		{name: "short authority", ca: shortCA, err: refused + "is signed with a weak key: RSA key of 1024 bits is shorter than required_rsa_size 2048"},
		{
			name: "revoked key", known: trust("*", ca) + "@revoked * " + sshtest.AuthorizedKey(host),
			err: `host key of "b.example:22" is revoked: ssh-ed25519-cert-v01@openssh.com ` + fp + " by kh:2",
		},
		{
			name: "revoked authority", known: trust("*", ca) + "@revoked * " + sshtest.AuthorizedKey(ca.PublicKey()) + "\nb.example " + sshtest.AuthorizedKey(host),
			err: `host certificate of "b.example:22" is signed by a revoked authority: ` + fpCA + " by kh:2",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			signer := ca
			if test.ca != nil {
				signer = test.ca
			}
			kind := test.kind
			if kind == 0 {
				kind = kindHost
			}
			cert := sshtest.CertifyKey(t, kind, host, signer, test.cert)
			if test.spoil {
				cert.Serial++
			}
			known := test.known
			if known == "" {
				known = trust("*", signer)
			}
			cfg := hostConfig(t, known)
			if test.edit != nil {
				test.edit(cfg)
			}
			_, err := verifyOnce(t, cfg, cert)
			sshtest.WantError(t, err, test.err)
		})
	}

	t.Run("bare key where a certificate is expected", func(t *testing.T) {
		_, err := verifyOnce(t, hostConfig(t, trust("*", ca)), host)
		sshtest.WantError(t, err, `host key of "b.example:22" has no certificate: offered ssh-ed25519 `+fp+", but expected one signed by "+fpCA+" (kh:1); set HostCertificate in its sshd_config")
	})
	t.Run("written by anybody in an authority's name", func(t *testing.T) {
		long := strings.Repeat("\u2028x\n", 1000)
		for name, forge := range map[string]func(*ssh.Certificate){
			"principals": func(c *ssh.Certificate) { c.ValidPrincipals = slices.Repeat([]string{long}, 1000) },
			"option":     func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{long: ""} },
			"signature":  func(c *ssh.Certificate) { c.Signature.Format = long },
		} {
			cert := sshtest.CertifyKey(t, ssh.HostCert, host, ca, nil)
			forge(cert)
			_, err := verifyOnce(t, hostConfig(t, trust("*", ca)), cert)
			if err == nil {
				t.Errorf("%s: accepted", name)
			} else if n := len(err.Error()); n > 2000 {
				t.Errorf("%s: an error of %d bytes", name, n)
			}
		}
	})
	t.Run("expires while connected", func(t *testing.T) {
		cert := sshtest.CertifyKey(t, ssh.HostCert, host, ca, func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Unix()) + 2 })
		h, err := verifyOnce(t, hostConfig(t, trust("*", ca)), cert)
		if err != nil {
			t.Fatal(err)
		}
		for algorithms.CheckValidity(cert) == nil {
			time.Sleep(50 * time.Millisecond)
		}
		if err := h.verify(t.Context(), cert); err != nil {
			t.Errorf("refused at a rekey: %v", err)
		}
	})
}

// TestVerifyKeygenCertificate verifies what ssh-keygen -s has signed.
func TestVerifyKeygenCertificate(t *testing.T) {
	sshtest.Program(t, "ssh-keygen")
	dir := t.TempDir()
	for _, kind := range []string{"ed25519", "rsa", "ecdsa"} {
		ca, host := filepath.Join(dir, "ca_"+kind), filepath.Join(dir, "host_"+kind)
		sshtest.Run(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", ca)
		sshtest.Run(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", host)
		sshtest.Run(t, "ssh-keygen", "-q", "-s", ca, "-I", "bastion", "-h", "-n", "b.example,*.corp", "-V", "-1h:+1h", host+".pub")
		data, err := os.ReadFile(host + "-cert.pub")
		if err != nil {
			t.Fatal(err)
		}
		cert, err := parsePublicKey(string(data))
		if err != nil {
			t.Fatal(err)
		}
		for address, want := range map[string]bool{"b.example:22": true, "x.corp:2222": true, "c.example:22": false} {
			_, err := verifyOnce(t, &Config{Address: address, HostCertificateAuthorities: []string{ca + ".pub"}}, cert)
			if (err == nil) != want {
				t.Errorf("%s certificate for %s: %v", kind, address, err)
			}
			if err != nil && !strings.Contains(err.Error(), "*.corp") {
				t.Errorf("error %v", err)
			}
		}
	}
}
