package algorithms

import (
	"bytes"
	"strings"

	"golang.org/x/crypto/ssh"
)

// PlainKey returns the key inside a certificate, and other keys as they are.
func PlainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// SameKey reports whether two keys, or certificates, are the same.
func SameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// KeyType returns the type of the plain keys that a signature algorithm is
// for.
func KeyType(algo string) string {
	if algo == ssh.KeyAlgoRSASHA256 || algo == ssh.KeyAlgoRSASHA512 {
		return ssh.KeyAlgoRSA
	}
	return algo
}

// PlainKeyType is the type of the plain key that an algorithm shows.
func PlainKeyType(algo string) string {
	plain, _, isCert := strings.Cut(algo, "-cert-v01@")
	if isCert && strings.HasPrefix(plain, "sk-") {
		plain += "@openssh.com"
	}
	return KeyType(plain)
}
