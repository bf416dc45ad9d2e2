// Package algorithms lists the algorithms that SSH connections offer and accept, and
// says what to do where the other side has none of them. It makes no connection and
// verifies no key. Any package may import it.
package algorithms

import (
	"cmp"
	"crypto/rsa"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// DefaultRSASize is the least size of an RSA key in bits, ssh-keygen's least
// since OpenSSH 9.1 and what NIST asks for.
const DefaultRSASize = 2048

// Lists are the algorithms that a configuration names, in the order of preference, each
// named after its ssh_config(5) keyword. Of an empty one, those that x/crypto/ssh holds
// secure are in force, with AES-GCM before the other ciphers. See Option.Check.
type Lists struct {
	KexAlgorithms            []string
	Ciphers                  []string
	MACs                     []string
	HostKeyAlgorithms        []string
	PubkeyAcceptedAlgorithms []string
	CASignatureAlgorithms    []string

	// RequiredRSASize is the least size in bits of an RSA key, the server's and
	// our own. If zero, 2048.
	RequiredRSASize int
}

// Option is one of the options that list algorithms.
type Option struct {
	Name      string
	Written   []string
	Supported []string // taken where nothing is written, best first
	Insecure  []string // taken only where written
}

// Names returns the algorithms in force, best first.
func (o Option) Names() []string {
	if len(o.Written) > 0 {
		return o.Written
	}
	return o.Supported
}

// Check refuses names that do not exist and warns of those that are broken.
func (o Option) Check() (warnings []string, err error) {
	for _, name := range o.Written {
		switch {
		case slices.Contains(o.Supported, name):
		case slices.Contains(o.Insecure, name):
			warnings = append(warnings, fmt.Sprintf("%s: %q is insecure; take it out once the bastion can do better", o.Name, name))
		default:
			return nil, fmt.Errorf("%s: unknown algorithm %q; supported: %s", o.Name, name, strings.Join(o.Supported, ", "))
		}
	}
	return warnings, nil
}

// Defaults returns what an option such as "ciphers" lists if nothing is
// Written, best first, and the broken algorithms that it takes only if they are.
// It panics if no option of the name lists algorithms.
func Defaults(option string) (defaults, broken []string) {
	options := Lists{}.Options()
	i := slices.IndexFunc(options, func(o Option) bool { return o.Name == option })
	return options[i].Supported, options[i].Insecure
}

// Options returns all options that list algorithms.
func (l Lists) Options() []Option {
	return []Option{
		l.KexOption(), l.CipherOption(), l.MACOption(),
		l.HostKeyOption(), l.PubkeyOption(), l.CASignatureOption(),
	}
}

// KexCurve25519LibSSH is another name of curve25519-sha256, of before RFC 8731.
// x/crypto/ssh knows it, and does not list it.
const KexCurve25519LibSSH = "curve25519-sha256@libssh.org"

func (l Lists) KexOption() Option {
	supported := ssh.SupportedAlgorithms().KeyExchanges
	supported = slices.Insert(supported, slices.Index(supported, ssh.KeyExchangeCurve25519)+1, KexCurve25519LibSSH)
	return Option{"kex_algorithms", l.KexAlgorithms, supported, ssh.InsecureAlgorithms().KeyExchanges}
}

func (l Lists) CipherOption() Option {
	supported := ssh.SupportedAlgorithms().Ciphers
	slices.SortStableFunc(supported, func(a, b string) int { return cmp.Compare(cipherRank(a), cipherRank(b)) })
	return Option{"ciphers", l.Ciphers, supported, ssh.InsecureAlgorithms().Ciphers}
}

// cipherRank sorts by CPU time per byte, which AES instructions decide.
func cipherRank(name string) int {
	switch {
	case strings.Contains(name, "-gcm"):
		return 0
	case strings.HasPrefix(name, "chacha20"):
		return 2
	default:
		return 1
	}
}

func (l Lists) MACOption() Option {
	o := Option{"macs", l.MACs, nil, ssh.InsecureAlgorithms().MACs}
	for _, name := range ssh.SupportedAlgorithms().MACs {
		// HMAC is not broken by SHA-1's collisions, yet audits look for the name.
		if strings.HasPrefix(name, "hmac-sha1") {
			o.Insecure = append(o.Insecure, name)
		} else {
			o.Supported = append(o.Supported, name)
		}
	}
	return o
}

func (l Lists) HostKeyOption() Option {
	supported := ssh.SupportedAlgorithms().HostKeys
	slices.SortStableFunc(supported, func(a, b string) int { return cmp.Compare(hostKeyRank(a), hostKeyRank(b)) })
	return Option{"host_key_algorithms", l.HostKeyAlgorithms, supported, ssh.InsecureAlgorithms().HostKeys}
}

// hostKeyRank puts Ed25519 first: it is the key whose fingerprint users are
// told to compare, so it should be the one that an unknown bastion shows.
func hostKeyRank(name string) int {
	switch {
	case strings.HasPrefix(name, "ssh-ed25519"):
		return 0
	case strings.HasPrefix(name, "ecdsa-"):
		return 1
	case strings.HasPrefix(name, "rsa-sha2-512"):
		return 2
	default:
		return 3
	}
}

func (l Lists) PubkeyOption() Option {
	return Option{
		"pubkey_accepted_algorithms", l.PubkeyAcceptedAlgorithms,
		withCertificates(ssh.SupportedAlgorithms().PublicKeyAuths), withCertificates(ssh.InsecureAlgorithms().PublicKeyAuths),
	}
}

func (l Lists) CASignatureOption() Option {
	return Option{
		"ca_signature_algorithms", l.CASignatureAlgorithms,
		ssh.SupportedAlgorithms().PublicKeyAuths, ssh.InsecureAlgorithms().PublicKeyAuths,
	}
}

// CryptoConfig returns what the transport layer negotiates.
func (l Lists) CryptoConfig() ssh.Config {
	return ssh.Config{
		KeyExchanges: l.KexOption().Names(),
		Ciphers:      l.CipherOption().Names(),
		MACs:         l.MACOption().Names(),
		// x/crypto/ssh deadlocks for good if it starts a key exchange by itself
		// while many channels are busy. The connection is replaced instead, long
		// before its keys have served too much (Settings.RekeyBytes).
		RekeyThreshold: math.MaxInt64,
	}
}

// RSASize returns the least size in bits of an RSA key.
func (l Lists) RSASize() int { return cmp.Or(l.RequiredRSASize, DefaultRSASize) }

// CheckSize refuses RSA keys that are too short: x/crypto/ssh takes any.
func (l Lists) CheckSize(key ssh.PublicKey) error {
	pub, ok := PlainKey(key).(ssh.CryptoPublicKey)
	if !ok {
		return nil
	}
	if n, ok := pub.CryptoPublicKey().(*rsa.PublicKey); ok && n.N.BitLen() < l.RSASize() {
		return fmt.Errorf("RSA key of %d bits is shorter than required_rsa_size %d", n.N.BitLen(), l.RSASize())
	}
	return nil
}

// OfKeyType returns the algorithms that a plain key of the given
// type can sign with, best first.
func OfKeyType(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	return []string{keyType}
}

// Certificate returns the name that a signature algorithm has where the key
// comes in a certificate.
func Certificate(algo string) string {
	if strings.HasPrefix(algo, "ssh-mldsa-") {
		return algo + "-cert-v01@golang.org"
	}
	return strings.TrimSuffix(algo, "@openssh.com") + "-cert-v01@openssh.com"
}

// IsCertificate reports whether a key algorithm's name is a certificate's.
func IsCertificate(algo string) bool { return strings.Contains(algo, "-cert-v01@") }

func withCertificates(algos []string) []string {
	all := slices.Clone(algos)
	for _, a := range algos {
		all = append(all, Certificate(a))
	}
	return all
}
