package sshtest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestKeyPEM(t *testing.T) {
	ed := NewKey()
	for _, key := range []*Key{ed, NewECDSAKey(), NewRSAKey(2048)} {
		for _, passphrase := range []string{"", "secret"} {
			if passphrase != "" && key != ed {
				continue // it costs seconds, and is the same for each type
			}
			text := key.PEM(passphrase)
			parsed, err := ssh.ParsePrivateKey(text)
			if passphrase != "" {
				if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); !ok {
					t.Errorf("without the passphrase: %v", err)
				}
				parsed, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(passphrase))
			}
			if err != nil {
				t.Fatal(err)
			}
			if AuthorizedKey(parsed.PublicKey()) != key.AuthorizedKey() {
				t.Errorf("%s key came back as another", key.PublicKey().Type())
			}
		}
	}
}

func TestCertify(t *testing.T) {
	authority, key := NewKey(), NewKey()
	checker := ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool {
		return AuthorizedKey(k) == authority.AuthorizedKey()
	}}
	cert := Certify(authority, key, ssh.Certificate{CertType: ssh.UserCert, ValidPrincipals: []string{"deploy"}})
	if err := checker.CheckCert("deploy", cert); err != nil {
		t.Error(err)
	}
	if signer := CertSigner(cert, key); signer.PublicKey().Type() != ssh.CertAlgoED25519v01 {
		t.Errorf("signer is a %s", signer.PublicKey().Type())
	}
}

func TestCA(t *testing.T) {
	ca := NewCA()
	cert := ca.Issue("web.internal", "127.0.0.1")
	for host, ok := range map[string]bool{"web.internal": true, "127.0.0.1": true, "other.internal": false} {
		_, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: ca.Pool()})
		if (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: NewCA().Pool()}); err == nil {
		t.Error("another authority vouches for it")
	}
	if _, err := tls.X509KeyPair(EncodePEM(cert)); err != nil {
		t.Error(err)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(ca.PEM()) || !pool.Equal(ca.Pool()) {
		t.Error("the PEM is not of the authority")
	}
}
