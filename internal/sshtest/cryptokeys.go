package sshtest

// cryptokeys.go makes keys as Go has them, and certificates, for tests of what reads
// them.

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// EdKey returns the Ed25519 key of a seed: the same in every run, so that error
// texts can be compared whole.
func EdKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// RSAKey returns the RSA key of so many bits: 1024, 2048 or 3072.
func RSAKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	return rsaKey(bits)
}

// ECDSAKey returns a new ECDSA key.
func ECDSAKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// SignerFor returns what signs with a key.
func SignerFor(t testing.TB, key crypto.PrivateKey) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// PublicOf returns the public half of a key.
func PublicOf(t testing.TB, key crypto.PrivateKey) ssh.PublicKey {
	t.Helper()
	return SignerFor(t, key).PublicKey()
}

// WriteKey writes a private key in OpenSSH form, and its .pub beside it.
func WriteKey(t testing.TB, path string, key crypto.PrivateKey, passphrase string) {
	t.Helper()
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	Write(t, path, string(pem.EncodeToMemory(block)))
	Write(t, path+".pub", AuthorizedKey(PublicOf(t, key))+"\n")
}

// Write writes a file that only its owner can read, and the folders above it.
func Write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// CertifyKey returns a certificate for key by ca: valid now, and with what edit
// makes of it before it is signed.
func CertifyKey(t testing.TB, kind uint32, key ssh.PublicKey, ca ssh.Signer, edit func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	cert := &ssh.Certificate{
		Key: key, CertType: kind, KeyId: "test", Serial: 1,
		ValidAfter: uint64(time.Now().Add(-time.Hour).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix()), //nolint:gosec // after 1970
		ValidPrincipals: []string{"b.example"},
		Permissions:     ssh.Permissions{Extensions: map[string]string{}},
	}
	if kind == ssh.UserCert {
		cert.ValidPrincipals = []string{"deploy"}
		cert.Extensions["permit-port-forwarding"] = ""
	}
	if edit != nil {
		edit(cert)
	}
	if len(cert.ValidPrincipals) == 0 { // x/crypto signs none of these, but ssh-keygen does
		signWithoutPrincipals(t, cert, ca)
	} else if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return cert
}

// signWithoutPrincipals signs a certificate as it is: all of it but for the signature
// (PROTOCOL.certkeys of OpenSSH).
func signWithoutPrincipals(t testing.TB, cert *ssh.Certificate, ca ssh.Signer) {
	t.Helper()
	cert.Nonce, cert.SignatureKey, cert.Signature = make([]byte, 32), ca.PublicKey(), &ssh.Signature{}
	signed := cert.Marshal()
	signed = signed[:len(signed)-4-len(ssh.Marshal(cert.Signature))]
	signature, err := ca.Sign(rand.Reader, signed)
	if err != nil {
		t.Fatal(err)
	}
	cert.Signature = signature
}

// Run runs a program and returns its output.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), Program(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// WantError compares an error's whole text.
func WantError(t testing.TB, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("error\n got: %s\nwant: %s", got, want)
	}
}
