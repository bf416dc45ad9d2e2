package keyfile

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// explain.go says why a private key cannot be used, and which command helps. What
// it says of a file follows its name, as in `identity_file "/k" is empty`.

// anotherKey is what helps where the key itself is of no use.
const anotherKey = "make another with ssh-keygen -t ed25519, and add its .pub to authorized_keys on the bastion"

// maxRounds is how many rounds x/crypto/ssh accepts.
const maxRounds = 2048

// Explain says what is wrong with the file at path, which data is the content of
// and err the error of. It returns nil for an error that is not the file's fault.
func Explain(path string, data []byte, err error) error {
	name := Shell(path)
	unsupported, isType := errors.AsType[*unsupportedError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, x509.IncorrectPasswordError):
		return errors.New("cannot be decrypted: its passphrase is wrong")
	case isType:
		return unsupported.explain()
	case errors.Is(err, errEncryption):
		return fmt.Errorf("%w; run ssh-keygen -p -f %s", errEncryption, name)
	case errors.Is(err, errLegacy):
		return fmt.Errorf("%w; run openssl pkey -provider legacy -provider default -in %[2]s -aes256 -out %[2]s.pem, and write the path of that file", errLegacy, name)
	}
	block := privateBlock(data)
	switch {
	case block == nil:
		return explainText(name, data)
	case mislabelled(block, err) != "":
		return fmt.Errorf(`is a private key whose first and last line are those of another form; run sed -i 's/-----\(BEGIN\|END\) [A-Z ]*PRIVATE KEY-----/-----\1 %s-----/' %s`, mislabelled(block, err), name)
	case block.Type != typeOpenSSH:
		return explainParsing(err)
	}
	head, headErr := parseHead(block)
	if headErr != nil {
		return explainParsing(headErr)
	}
	if err := head.explain(name); err != nil {
		return err
	}
	return explainParsing(errDamaged) // the parser's error may quote the file
}

// explain says what is not supported about a key in OpenSSH's form, or returns nil.
func (h *openSSHHead) explain(name string) error {
	if h.public() == nil && plausible(h.keyType()) {
		return (&unsupportedError{h.keyType()}).explain()
	}
	switch {
	case !h.encrypted():
		return nil
	case h.KDF == "bcrypt" && h.Cipher != "aes256-ctr" && h.Cipher != "aes256-cbc" && plausible(h.Cipher):
		return fmt.Errorf("is encrypted with %s, which is not supported; run ssh-keygen -p -Z aes256-ctr -f %s", h.Cipher, name)
	case h.rounds() > maxRounds:
		return fmt.Errorf("has %d KDF rounds, and at most %d are supported; run ssh-keygen -p -a 100 -f %s", h.rounds(), maxRounds, name)
	default:
		return nil
	}
}

// mislabelled returns the type that a block should have, if it has another, or "".
func mislabelled(block *pem.Block, err error) string {
	switch {
	case block.Type == typeOpenSSH:
		return ""
	case bytes.HasPrefix(block.Bytes, []byte("openssh-key-v1\x00")):
		return typeOpenSSH
	case strings.Contains(err.Error(), "use ParsePKCS8PrivateKey instead"):
		return typePKCS8
	case strings.Contains(err.Error(), "use ParsePKCS1PrivateKey instead"):
		return typeRSA
	case strings.Contains(err.Error(), "use ParseECPrivateKey instead"):
		return typeEC
	default:
		return ""
	}
}

// explainParsing says that the content between a key's first and last line is of no
// use.
func explainParsing(err error) error {
	if errors.Is(err, errDamaged) {
		return fmt.Errorf("%w; copy the whole file again", errDamaged)
	}
	detail := strings.TrimPrefix(err.Error(), "ssh: ")
	return fmt.Errorf("%w (%s); copy the whole file again", errDamaged, detail)
}

// explain says which types there are instead.
func (e *unsupportedError) explain() error {
	return fmt.Errorf("%w, which is not supported; %s", e, anotherKey)
}

// keyTypes are types of keys that are not supported, by their name in PKCS#8 and
// their curve's.
var keyTypes = map[string]string{
	"1.2.840.10040.4.1":       "DSA",
	"1.2.840.113549.1.1.10":   "RSA-PSS",
	"1.2.840.113549.1.3.1":    "Diffie-Hellman",
	"1.3.101.110":             "X25519",
	"1.3.101.111":             "X448",
	"1.3.101.113":             "Ed448",
	"1.2.840.10045.3.1.1":     "ECDSA on the curve P-192",
	"1.3.132.0.33":            "ECDSA on the curve P-224",
	"1.3.132.0.10":            "ECDSA on the curve secp256k1",
	"1.2.156.10197.1.301":     "SM2",
	"1.3.36.3.3.2.8.1.1.7":    "ECDSA on the curve brainpoolP256r1",
	"1.3.36.3.3.2.8.1.1.8":    "ECDSA on the curve brainpoolP256t1",
	"1.3.36.3.3.2.8.1.1.11":   "ECDSA on the curve brainpoolP384r1",
	"1.3.36.3.3.2.8.1.1.12":   "ECDSA on the curve brainpoolP384t1",
	"1.3.36.3.3.2.8.1.1.13":   "ECDSA on the curve brainpoolP512r1",
	"1.3.36.3.3.2.8.1.1.14":   "ECDSA on the curve brainpoolP512t1",
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44",
	"2.16.840.1.101.3.4.3.18": "ML-DSA-65",
	"2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}

// unsupportedPKCS8 returns of which type a key is that could not be parsed, or err.
func unsupportedPKCS8(der []byte, err error) error {
	var key pkcs8Key
	if _, bad := asn1.Unmarshal(der, &key); bad != nil {
		return err
	}
	algorithm := key.Algorithm.Algorithm
	if algorithm.Equal(oidEC) {
		return unsupportedParameters(key.Algorithm.Parameters.FullBytes, err)
	}
	if name, known := keyTypes[algorithm.String()]; known || strings.Contains(err.Error(), "unknown algorithm") {
		return &unsupportedError{cmp.Or(name, algorithm.String())}
	}
	return err
}

// unsupportedEC is unsupportedPKCS8 for RFC 5915.
func unsupportedEC(der []byte, err error) error {
	var key ecPrivateKey
	if _, bad := asn1.Unmarshal(der, &key); bad != nil {
		return err
	}
	return unsupportedParameters(key.Curve.Bytes, err)
}

func unsupportedParameters(parameters []byte, err error) error {
	var oid asn1.ObjectIdentifier
	var explicit []asn1.RawValue
	if _, bad := asn1.Unmarshal(parameters, &oid); bad == nil {
		for _, n := range namedCurves {
			if n.oid.Equal(oid) {
				return err
			}
		}
		if name, ok := keyTypes[oid.String()]; ok {
			return &unsupportedError{name}
		}
		return &unsupportedError{"ECDSA on a curve that SSH does not have"}
	}
	if _, bad := asn1.Unmarshal(parameters, &explicit); bad == nil && len(explicit) > 1 { // the version, the field, the curve
		return &unsupportedError{"ECDSA on a curve that SSH does not have"}
	}
	return err
}

// plausible reports whether a name that a file has may be shown.
func plausible(name string) bool { return algorithmName.MatchString(name) }

var algorithmName = regexp.MustCompile(`^[a-z0-9][a-z0-9@.-]{1,63}$`)

// Shell returns a path as a shell takes it, in quotes where it needs them.
func Shell(path string) string {
	plain := strings.IndexFunc(path, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-+,:@%", r)
	}) < 0
	if plain && path != "" && !strings.HasPrefix(path, "-") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// ExplainLocked says of an encrypted key, without its passphrase, what would keep it
// from being used with it, or returns nil.
func ExplainLocked(path string, data []byte) error {
	if head := headOf(data); head != nil {
		return head.explain(Shell(path))
	}
	return nil
}
