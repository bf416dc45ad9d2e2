package keyfile

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// parse.go finds the private key in a file and parses it.

// ErrNoKey is a file without a private key that can be read. Explain says why.
var ErrNoKey = errors.New("has no private key")

// bom is the byte order mark that editors on Windows write before UTF-8.
const bom = "\ufeff"

// maxFile is how much of a file is looked at, which is many times what a key needs.
const maxFile = 1 << 20

// The types of PEM blocks, which are what a file's -----BEGIN lines say.
const (
	typeOpenSSH   = "OPENSSH PRIVATE KEY"
	typePKCS8     = "PRIVATE KEY"
	typeEncrypted = "ENCRYPTED PRIVATE KEY"
	typeRSA       = "RSA PRIVATE KEY"
	typeEC        = "EC PRIVATE KEY"
)

// privateBlock returns the first PEM block of a private key, or nil. Before it may
// be the parameters of its curve, its certificate, or text, as OpenSSL writes them.
func privateBlock(data []byte) *pem.Block {
	data = bytes.TrimPrefix(data[:min(len(data), maxFile)], []byte(bom))
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
	}
}

// HasPrivateKey reports whether a file has a private key, whether that can be read or
// not.
func HasPrivateKey(data []byte) bool { return privateBlock(data) != nil }

// parse returns the signer of the private key in a file. The error is a
// *ssh.PassphraseMissingError if it is encrypted and the passphrase is empty, and
// x509.IncorrectPasswordError if the passphrase is wrong.
func parse(data, passphrase []byte) (ssh.Signer, error) {
	block := privateBlock(data)
	if block == nil {
		return nil, ErrNoKey
	}
	if block.Type == typeOpenSSH {
		return parseOpenSSH(block, passphrase)
	}
	der, err := decryptedDER(block, passphrase)
	if err != nil {
		return nil, err
	}
	signer, err := parseDER(block.Type, der)
	if err != nil && encrypted(block) {
		if _, known := errors.AsType[*unsupportedError](err); !known {
			err = x509.IncorrectPasswordError // the old ciphers do not show it in any other way
		}
	}
	return signer, err
}

// parseOpenSSH parses a key in OpenSSH's own form (PROTOCOL.key).
func parseOpenSSH(block *pem.Block, passphrase []byte) (ssh.Signer, error) {
	head, err := parseHead(block)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
	switch {
	case !head.encrypted():
		return ssh.ParsePrivateKey(text)
	case len(passphrase) == 0:
		return nil, &ssh.PassphraseMissingError{PublicKey: head.public()}
	case head.explain("") != nil:
		return nil, errLocked // before its passphrase is hashed in vain
	default:
		return ssh.ParsePrivateKeyWithPassphrase(text, passphrase)
	}
}

// encrypted reports whether a block that is not in OpenSSH's form is encrypted.
func encrypted(block *pem.Block) bool {
	return block.Type == typeEncrypted || x509.IsEncryptedPEMBlock(block) //nolint:staticcheck // ssh-keygen -m PEM writes such files, and ssh reads them
}

// decryptedDER returns the DER of a block that is not in OpenSSH's form.
func decryptedDER(block *pem.Block, passphrase []byte) ([]byte, error) {
	switch {
	case !encrypted(block):
		return block.Bytes, nil
	case len(passphrase) == 0:
		return nil, &ssh.PassphraseMissingError{}
	case block.Type == typeEncrypted:
		return decryptPKCS8(block.Bytes, passphrase)
	}
	der, err := x509.DecryptPEMBlock(block, passphrase)                         //nolint:staticcheck // as above
	if err != nil && strings.Contains(err.Error(), "unknown encryption mode") { // it has no name
		return nil, errEncryption
	}
	return der, err
}

// parseDER parses the private key of a PEM block.
func parseDER(blockType string, der []byte) (signer ssh.Signer, err error) {
	der = nameCurve(blockType, der)
	var key any
	unsupported := func(_ []byte, err error) error { return err }
	switch blockType {
	case typeRSA:
		key, err = x509.ParsePKCS1PrivateKey(der)
	case typeEC:
		key, err = x509.ParseECPrivateKey(der)
		unsupported = unsupportedEC
	case typePKCS8, typeEncrypted:
		key, err = x509.ParsePKCS8PrivateKey(der)
		unsupported = unsupportedPKCS8
	default:
		return nil, &unsupportedError{strings.TrimSuffix(blockType, " PRIVATE KEY")}
	}
	if err == nil {
		signer, err = ssh.NewSignerFromKey(key)
	}
	if err != nil {
		return nil, unsupported(der, err)
	}
	return signer, nil
}

// unsupportedError is a key of a type that golang.org/x/crypto/ssh does not have.
type unsupportedError struct{ keyType string }

func (e *unsupportedError) Error() string { return fmt.Sprintf("has a key of type %s", e.keyType) }

// openSSHHead is what a file in OpenSSH's form shows without a passphrase.
type openSSHHead struct {
	Cipher, KDF, KDFOptions string
	Keys                    uint32
	Public                  []byte
	Private                 []byte
	Rest                    []byte `ssh:"rest"`
}

// parseHead parses the head of a block in OpenSSH's form.
func parseHead(block *pem.Block) (*openSSHHead, error) {
	var head openSSHHead
	body, ok := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
	if !ok || ssh.Unmarshal(body, &head) != nil || head.Keys != 1 {
		return nil, errDamaged
	}
	return &head, nil
}

// errLocked is a key that is not supported. Explain says why.
var errLocked = errors.New("is not supported")

// errDamaged is a key that is not whole.
var errDamaged = errors.New("is damaged or incomplete")

func (h *openSSHHead) encrypted() bool { return h.Cipher != "none" || h.KDF != "none" }

// public returns the public key, or nil for one of a type that is not supported.
func (h *openSSHHead) public() ssh.PublicKey {
	key, err := ssh.ParsePublicKey(h.Public)
	if err != nil {
		return nil
	}
	return key
}

// keyType returns the type of the key, supported or not, or "".
func (h *openSSHHead) keyType() string {
	var blob struct {
		Type string
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(h.Public, &blob) != nil {
		return ""
	}
	return blob.Type
}

// rounds returns how often the passphrase is hashed.
func (h *openSSHHead) rounds() uint32 {
	var options struct {
		Salt   string
		Rounds uint32
	}
	if h.KDF != "bcrypt" || ssh.Unmarshal([]byte(h.KDFOptions), &options) != nil {
		return 0
	}
	return options.Rounds
}

// EmbeddedPublicKey returns the public key that a private key in OpenSSH's form
// shows without its passphrase, or nil.
func EmbeddedPublicKey(data []byte) ssh.PublicKey {
	if head := headOf(data); head != nil {
		return head.public()
	}
	return nil
}

// headOf returns what a private key in OpenSSH's form shows without its passphrase, or
// nil.
func headOf(data []byte) *openSSHHead {
	block := privateBlock(data)
	if block == nil || block.Type != typeOpenSSH {
		return nil
	}
	head, err := parseHead(block)
	if err != nil {
		return nil
	}
	return head
}

// Encrypted reports whether a private key needs a passphrase.
func Encrypted(data []byte) bool {
	_, err := parse(data, nil)
	_, missing := errors.AsType[*ssh.PassphraseMissingError](err)
	return missing
}
