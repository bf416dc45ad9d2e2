// algorithms.go says which algorithms are offered and accepted.

package tunnel

import (
	"cmp"
	"crypto/rsa"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// defaultRSASize is the least size of an RSA key in bits, ssh-keygen's least
// since OpenSSH 9.1 and what NIST asks for.
const defaultRSASize = 2048

// algorithmOption is one of the options that list algorithms.
type algorithmOption struct {
	name      string
	written   []string
	supported []string // taken where nothing is written, best first
	insecure  []string // taken only where written
}

// names returns the algorithms in force, best first.
func (o algorithmOption) names() []string {
	if len(o.written) > 0 {
		return o.written
	}
	return o.supported
}

// check refuses names that do not exist and warns of those that are broken.
func (o algorithmOption) check() (warnings []string, err error) {
	for _, name := range o.written {
		switch {
		case slices.Contains(o.supported, name):
		case slices.Contains(o.insecure, name):
			warnings = append(warnings, fmt.Sprintf("%s: %q is insecure; take it out once the bastion can do better", o.name, name))
		default:
			return nil, fmt.Errorf("%s: unknown algorithm %q; supported: %s", o.name, name, strings.Join(o.supported, ", "))
		}
	}
	return warnings, nil
}

// Algorithms returns what an option such as "ciphers" lists if nothing is
// written, best first, and the broken algorithms that it takes only if they are.
// It panics if no option of the name lists algorithms.
func Algorithms(option string) (defaults, broken []string) {
	options := new(Config).algorithmOptions()
	i := slices.IndexFunc(options, func(o algorithmOption) bool { return o.name == option })
	return options[i].supported, options[i].insecure
}

// algorithmOptions returns all options that list algorithms.
func (cfg *Config) algorithmOptions() []algorithmOption {
	return []algorithmOption{
		cfg.kexOption(), cfg.cipherOption(), cfg.macOption(),
		cfg.hostKeyOption(), cfg.pubkeyOption(), cfg.caSignatureOption(),
	}
}

// kexCurve25519LibSSH is another name of curve25519-sha256, of before RFC 8731.
// x/crypto/ssh knows it, and does not list it.
const kexCurve25519LibSSH = "curve25519-sha256@libssh.org"

func (cfg *Config) kexOption() algorithmOption {
	supported := ssh.SupportedAlgorithms().KeyExchanges
	supported = slices.Insert(supported, slices.Index(supported, ssh.KeyExchangeCurve25519)+1, kexCurve25519LibSSH)
	return algorithmOption{"kex_algorithms", cfg.KexAlgorithms, supported, ssh.InsecureAlgorithms().KeyExchanges}
}

func (cfg *Config) cipherOption() algorithmOption {
	supported := ssh.SupportedAlgorithms().Ciphers
	slices.SortStableFunc(supported, func(a, b string) int { return cmp.Compare(cipherRank(a), cipherRank(b)) })
	return algorithmOption{"ciphers", cfg.Ciphers, supported, ssh.InsecureAlgorithms().Ciphers}
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

func (cfg *Config) macOption() algorithmOption {
	o := algorithmOption{"macs", cfg.MACs, nil, ssh.InsecureAlgorithms().MACs}
	for _, name := range ssh.SupportedAlgorithms().MACs {
		// HMAC is not broken by SHA-1's collisions, yet audits look for the name.
		if strings.HasPrefix(name, "hmac-sha1") {
			o.insecure = append(o.insecure, name)
		} else {
			o.supported = append(o.supported, name)
		}
	}
	return o
}

func (cfg *Config) hostKeyOption() algorithmOption {
	supported := ssh.SupportedAlgorithms().HostKeys
	slices.SortStableFunc(supported, func(a, b string) int { return cmp.Compare(hostKeyRank(a), hostKeyRank(b)) })
	return algorithmOption{"host_key_algorithms", cfg.HostKeyAlgorithms, supported, ssh.InsecureAlgorithms().HostKeys}
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

func (cfg *Config) pubkeyOption() algorithmOption {
	return algorithmOption{
		"pubkey_accepted_algorithms", cfg.PubkeyAcceptedAlgorithms,
		withCertificates(ssh.SupportedAlgorithms().PublicKeyAuths), withCertificates(ssh.InsecureAlgorithms().PublicKeyAuths),
	}
}

func (cfg *Config) caSignatureOption() algorithmOption {
	return algorithmOption{
		"ca_signature_algorithms", cfg.CASignatureAlgorithms,
		ssh.SupportedAlgorithms().PublicKeyAuths, ssh.InsecureAlgorithms().PublicKeyAuths,
	}
}

// cryptoConfig returns what the transport layer negotiates.
func (cfg *Config) cryptoConfig() ssh.Config {
	return ssh.Config{
		KeyExchanges: cfg.kexOption().names(),
		Ciphers:      cfg.cipherOption().names(),
		MACs:         cfg.macOption().names(),
		// x/crypto/ssh deadlocks for good if it starts a key exchange by itself
		// while many channels are busy. The connection is replaced instead, long
		// before its keys have served too much (Settings.RekeyBytes).
		RekeyThreshold: math.MaxInt64,
	}
}

// rsaSize returns the least size in bits of an RSA key.
func (cfg *Config) rsaSize() int { return cmp.Or(cfg.RequiredRSASize, defaultRSASize) }

// checkSize refuses RSA keys that are too short: x/crypto/ssh takes any.
func (cfg *Config) checkSize(key ssh.PublicKey) error {
	pub, ok := plainKey(key).(ssh.CryptoPublicKey)
	if !ok {
		return nil
	}
	if n, ok := pub.CryptoPublicKey().(*rsa.PublicKey); ok && n.N.BitLen() < cfg.rsaSize() {
		return fmt.Errorf("RSA key of %d bits is shorter than required_rsa_size %d", n.N.BitLen(), cfg.rsaSize())
	}
	return nil
}

// signatureAlgorithms returns the algorithms that a plain key of the given
// type can sign with, best first.
func signatureAlgorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	return []string{keyType}
}

// certAlgorithm returns the name that a signature algorithm has where the key
// comes in a certificate.
func certAlgorithm(algo string) string {
	if strings.HasPrefix(algo, "ssh-mldsa-") {
		return algo + "-cert-v01@golang.org"
	}
	return strings.TrimSuffix(algo, "@openssh.com") + "-cert-v01@openssh.com"
}

// isCertAlgorithm tells whether a key algorithm's name is a certificate's.
func isCertAlgorithm(algo string) bool { return strings.Contains(algo, "-cert-v01@") }

func withCertificates(algos []string) []string {
	all := slices.Clone(algos)
	for _, a := range algos {
		all = append(all, certAlgorithm(a))
	}
	return all
}

// plainKey returns the key inside a certificate, and other keys as they are.
func plainKey(key ssh.PublicKey) ssh.PublicKey {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}
