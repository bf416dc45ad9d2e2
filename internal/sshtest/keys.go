package sshtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// keys.go makes SSH keys and certificates.

// Key is a key pair: a bastion's, a user's or an authority's.
type Key struct {
	ssh.MultiAlgorithmSigner // an ssh.Signer would let a server's RSA key sign with SHA-1 only
	private                  crypto.Signer
}

// NewKey returns a new Ed25519 key.
func NewKey() *Key {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return newKey(private, err)
}

// NewECDSAKey returns a new key on the curve P-256.
func NewECDSAKey() *Key {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return newKey(private, err)
}

// NewRSAKey returns the RSA key of so many bits: 1024, 2048 or 3072. It is the same
// each time.
func NewRSAKey(bits int) *Key { return newKey(rsaKey(bits), nil) }

// newKey panics on an error because only a wrong argument leads to one:
// crypto/rand cannot fail.
func newKey(private crypto.Signer, err error) *Key {
	if err != nil {
		panic(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		panic(err)
	}
	return &Key{MultiAlgorithmSigner: signer.(ssh.MultiAlgorithmSigner), private: private}
}

// Private returns the private key, as an ssh-agent's keyring takes it.
func (k *Key) Private() crypto.Signer { return k.private }

// PEM returns the private key in OpenSSH's form, encrypted if the passphrase
// is not empty.
func (k *Key) PEM(passphrase string) []byte {
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(k.private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(k.private, "", []byte(passphrase))
	}
	if err != nil {
		panic(err) // the key is of a type that newKey took
	}
	return pem.EncodeToMemory(block)
}

// EncryptedFile writes the private key as ssh-keygen encrypts it, with the fewest
// rounds, and returns the path of the file. Under the race detector what PEM returns
// takes seconds to decrypt.
func (k *Key) EncryptedFile(t testing.TB, passphrase string) string {
	t.Helper()
	path := WriteFile(t, "encrypted", k.PEM(""))
	out, err := exec.Command("ssh-keygen", "-q", "-p", "-a", "1", "-P", "", "-N", passphrase, "-f", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	return path
}

// AuthorizedKey returns the public key as "<type> <base64>".
func (k *Key) AuthorizedKey() string { return AuthorizedKey(k.PublicKey()) }

// Fingerprint returns the public key's "SHA256:<fingerprint>".
func (k *Key) Fingerprint() string { return ssh.FingerprintSHA256(k.PublicKey()) }

// AuthorizedKey returns the key, or certificate, as "<type> <base64>".
func AuthorizedKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// Certify returns the certificate for key that the authority ca signed. What
// cert leaves at zero is filled in so that the certificate is valid for ever, for
// "nobody"; set its CertType and ValidPrincipals.
func Certify(ca, key *Key, cert ssh.Certificate) *ssh.Certificate {
	cert.Key = key.PublicKey()
	if cert.ValidBefore == 0 {
		cert.ValidBefore = ssh.CertTimeInfinity
	}
	if len(cert.ValidPrincipals) == 0 {
		cert.ValidPrincipals = []string{"nobody"} // x/crypto signs for no empty list
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		panic(err) // crypto/rand cannot fail
	}
	return &cert
}

// CertSigner returns the signer that authenticates key by cert, as a host or
// as a user.
func CertSigner(cert *ssh.Certificate, key *Key) ssh.Signer {
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		panic(err) // cert is not for key
	}
	return signer
}
