package autokey

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// Key is an Ed25519 key pair.
type Key struct {
	Created time.Time `json:"created"` // in UTC, to the second

	// PrivateKey is the private key in OpenSSH's format, without a passphrase.
	PrivateKey string `json:"private_key"`

	signer ssh.Signer
}

// generate returns a new key.
func generate() (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	k := &Key{PrivateKey: string(pem.EncodeToMemory(block)), Created: time.Now().UTC().Truncate(time.Second)}
	return k, k.parse()
}

// parse reads PrivateKey. Its errors have nothing of the key in them.
func (k *Key) parse() error {
	signer, err := ssh.ParsePrivateKey([]byte(k.PrivateKey))
	if err != nil || signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return errors.New("its private_key is not an Ed25519 key in OpenSSH's format without a passphrase")
	}
	k.signer = signer
	return nil
}

// Signer signs with the key.
func (k *Key) Signer() ssh.Signer { return k.signer }

// PublicKey returns the public half.
func (k *Key) PublicKey() ssh.PublicKey { return k.signer.PublicKey() }

// AuthorizedKey returns the public half as a line of authorized_keys (sshd(8)), without
// options and without a line end. A comment stays on the line, whatever it has.
func (k *Key) AuthorizedKey(comment string) string {
	return strings.TrimSpace(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.PublicKey()))) + " " + printable.Text(comment))
}

// String is the key's fingerprint, so that nobody prints the rest by mistake.
func (k *Key) String() string { return ssh.FingerprintSHA256(k.PublicKey()) }

// GoString is String.
func (k *Key) GoString() string { return k.String() }
