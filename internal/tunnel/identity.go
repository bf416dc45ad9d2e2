// identity.go reads the files of a user's keys.

package tunnel

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// errNeedsPassphrase is returned, with the public key where the file shows it,
// for an encrypted private key that no passphrase was given for.
var errNeedsPassphrase = errors.New("is encrypted and has no passphrase")

// fileError is a file that cannot be used. Its text names the option, the path
// and, where permissions are the cause, the user. It does not show a path that may
// be a secret.
type fileError struct {
	option, path string
	err          error
}

func (e *fileError) Error() string {
	switch {
	case errors.Is(e.err, fs.ErrNotExist):
		return fmt.Sprintf("%s %s does not exist", e.option, redact.Quote(e.path))
	case errors.Is(e.err, fs.ErrPermission):
		return fmt.Sprintf("%s %s cannot be read by user %q; change its owner or mode", e.option, redact.Quote(e.path), processUser())
	default:
		return fmt.Sprintf("%s %s %v", e.option, redact.Quote(e.path), e.err)
	}
}

func (e *fileError) Unwrap() error { return e.err }

// readFile reads a file that an option names. It does not wait for ever, since it
// may do so with a turn at the bastion.
func readFile(option, path string) ([]byte, error) {
	data, err := readAll(path)
	if err == nil {
		return data, nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
	default:
		err = fmt.Errorf("cannot be read: %w", rootCause(err))
	}
	return nil, &fileError{option, path, err}
}

// processUser returns the name of the user that this process runs as.
var processUser = sync.OnceValue(func() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
})

// identity is what an identity file holds.
type identity struct {
	IdentityFile
	public ssh.PublicKey       // a plain key, or nil if the file does not show it
	signer ssh.AlgorithmSigner // nil if the private half is left to the agent
	cert   *ssh.Certificate    // the one beside the file, or nil
}

// certPath is where the certificate beside an identity file would be.
func (f IdentityFile) certPath() string { return strings.TrimSuffix(f.Path, ".pub") + "-cert.pub" }

// loadIdentity reads an identity file, but not the certificate beside it.
func (cfg *Config) loadIdentity(file IdentityFile) (identity, error) {
	id := identity{IdentityFile: file}
	data, err := readFile("identity_file", file.Path)
	if err != nil {
		return id, err
	}
	if pub, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		id.public = plainKey(pub)
		return id, cfg.checkIdentity(file, id.public)
	}
	// A key on a security token: the file holds no more than a handle, which the
	// agent knows how to use.
	if pub := embeddedPublicKey(data); pub != nil && isTokenKey(pub) {
		id.public = pub
		return id, nil
	}
	signer, err := ssh.ParsePrivateKey(data)
	missing, encrypted := errors.AsType[*ssh.PassphraseMissingError](err)
	switch {
	case encrypted && file.Passphrase == "":
		id.public = missing.PublicKey
		if id.public == nil { // the older PEM form hides it
			id.public = publicBeside(file.Path)
		}
		return id, &fileError{"identity_file", file.Path, errNeedsPassphrase}
	case encrypted:
		passphrase, err := cfg.secret(fmt.Sprintf("passphrase of identity_file %q", file.Path), file.Passphrase)
		if err != nil {
			return id, err
		}
		signer, err = ssh.ParsePrivateKeyWithPassphrase(data, []byte(passphrase))
		if err != nil {
			return id, &fileError{"identity_file", file.Path, passphraseCause(err)}
		}
		return cfg.withSigner(id, signer)
	case err != nil:
		return id, &fileError{"identity_file", file.Path, privateKeyCause(data, err)}
	}
	return cfg.withSigner(id, signer)
}

func (cfg *Config) withSigner(id identity, signer ssh.Signer) (identity, error) {
	s, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return id, &fileError{"identity_file", id.Path, fmt.Errorf("has a key of type %q, which is not supported", signer.PublicKey().Type())}
	}
	id.public, id.signer = s.PublicKey(), s
	return id, cfg.checkIdentity(id.IdentityFile, id.public)
}

func (cfg *Config) checkIdentity(file IdentityFile, key ssh.PublicKey) error {
	if err := cfg.checkSize(key); err != nil {
		return &fileError{"identity_file", file.Path, fmt.Errorf("cannot be used: %w; make one with ssh-keygen -t ed25519", err)}
	}
	return nil
}

// secret resolves a secret, which what describes. No error shows its value.
func (cfg *Config) secret(what, raw string) (string, error) {
	value := raw
	if cfg.Resolve != nil {
		var err error
		if value, err = cfg.Resolve(raw); err != nil {
			return "", fmt.Errorf("%s: %w", what, err)
		}
	}
	if value == "" {
		return "", fmt.Errorf("%s is empty; check what its placeholder stands for", what)
	}
	return value, nil
}

func passphraseCause(err error) error {
	if errors.Is(err, x509.IncorrectPasswordError) {
		return errors.New("cannot be decrypted: its passphrase is wrong")
	}
	return fmt.Errorf("cannot be decrypted: %w", err)
}

// privateKeyCause says why data is not a private key, and how to make it one.
func privateKeyCause(data []byte, err error) error {
	switch {
	case bytes.HasPrefix(data, []byte("PuTTY-User-Key-File")):
		return errors.New("is a PuTTY key; convert it with puttygen -O private-openssh")
	case bytes.Contains(data, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----")):
		return errors.New("is an encrypted PKCS#8 key, which is not supported; convert it with ssh-keygen -p -f")
	default:
		return fmt.Errorf("is not a private key in OpenSSH or PEM form: %s", strings.TrimPrefix(err.Error(), "ssh: "))
	}
}

// isTokenKey tells whether a key is on a security token (FIDO, OpenSSH's
// PROTOCOL.u2f), which only an agent knows how to ask.
func isTokenKey(key ssh.PublicKey) bool { return strings.HasPrefix(key.Type(), "sk-") }

// embeddedPublicKey returns the public key that an OpenSSH private key file
// shows besides the private one (OpenSSH's PROTOCOL.key), or nil.
func embeddedPublicKey(data []byte) ssh.PublicKey {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil
	}
	body, ok := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
	if !ok {
		return nil
	}
	var head struct {
		Cipher, KDF, KDFOptions string
		Keys                    uint32
		Public                  []byte
		Rest                    []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(body, &head) != nil || head.Keys != 1 {
		return nil
	}
	pub, err := ssh.ParsePublicKey(head.Public)
	if err != nil {
		return nil
	}
	return pub
}

// publicBeside returns the key in the .pub file beside a private key, or nil.
func publicBeside(path string) ssh.PublicKey {
	data, err := readAll(path + ".pub")
	if err != nil {
		return nil
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil
	}
	return plainKey(pub)
}

// parsePublicKey parses "<type> <base64> [comment]".
func parsePublicKey(s string) (ssh.PublicKey, error) {
	fields := strings.Fields(s)
	if len(fields) < 2 {
		return nil, errors.New("is not of the form <type> <base64>")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, errors.New("is not valid base64; copy the whole line")
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, fmt.Errorf("is not a valid key: %s", strings.TrimPrefix(err.Error(), "ssh: "))
	}
	if key.Type() != fields[0] {
		return nil, fmt.Errorf("says %q but holds a key of type %q", fields[0], key.Type())
	}
	return key, nil
}
