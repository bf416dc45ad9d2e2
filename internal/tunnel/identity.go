// identity.go reads the files of a user's keys.

package tunnel

import (
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
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
	case errors.As(e.err, new(*directoryError)):
		return fmt.Sprintf("%s %s %v", e.option, redact.Quote(e.path), e.err)
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
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, fs.ErrPermission):
		err = permissionError(path, err)
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
	public ssh.PublicKey       // a plain key, or nil if nothing shows it
	signer ssh.AlgorithmSigner // nil if the private half is left to the agent
	cert   *ssh.Certificate    // the one beside the file, or in its .pub, or nil
	// certFile is where cert is.
	certFile string
	// took is how long it was decrypted.
	took time.Duration
	// err is why there is no signer, or nil.
	err error
}

// certPath is where the certificate beside an identity file would be.
func (f IdentityFile) certPath() string { return strings.TrimSuffix(f.Path, ".pub") + "-cert.pub" }

// publicPath is where the public key of an identity file would be.
func (f IdentityFile) publicPath() string { return strings.TrimSuffix(f.Path, ".pub") + ".pub" }

// loadIdentity reads an identity file, and the public key beside it, but not the
// certificate. With an error, too, it may return the public key, whose private half
// an agent may hold.
func (cfg *Config) loadIdentity(file IdentityFile) (identity, error) {
	id := identity{IdentityFile: file}
	data, err := readFile("identity_file", file.Path)
	switch {
	case err != nil:
		id.showBeside()
	case keyfile.HasPrivateKey(data):
		err = cfg.loadPrivate(&id, data)
	case !id.show(data, file.Path):
		_, err = keyfile.Parse(data, "")
		err = &fileError{"identity_file", file.Path, keyfile.Explain(file.Path, data, err)}
		id.showBeside()
	}
	if id.public != nil {
		if bad := cfg.checkIdentity(file, id.public); bad != nil {
			id.public, id.signer = nil, nil
			err = cmp.Or(err, bad)
		}
	}
	id.err = err
	return id, err
}

// loadPrivate reads the private key of an identity file.
func (cfg *Config) loadPrivate(id *identity, data []byte) error {
	failed := func(err error) error { return &fileError{"identity_file", id.Path, err} }
	// A key on a security token: the file holds no more than a handle, which the
	// agent knows how to use.
	if pub := keyfile.EmbeddedPublicKey(data); pub != nil && isTokenKey(pub) {
		id.public = pub
		return nil
	}
	passphrase := ""
	if id.Passphrase != "" && keyfile.Encrypted(data) {
		var err error
		if passphrase, err = cfg.secret(fmt.Sprintf("passphrase of identity_file %q", id.Path), id.Passphrase); err != nil {
			return err
		}
	}
	key, err := keyfile.Parse(data, passphrase)
	id.took = key.Took
	missing, encrypted := errors.AsType[*ssh.PassphraseMissingError](err)
	switch {
	case encrypted:
		id.showBeside()
		if missing.PublicKey != nil {
			id.public = missing.PublicKey
		}
		return failed(cmp.Or(keyfile.ExplainLocked(id.Path, data), errNeedsPassphrase))
	case err != nil:
		if !errors.Is(err, x509.IncorrectPasswordError) {
			id.showBeside()
		}
		return failed(keyfile.Explain(id.Path, data, err))
	}
	signer, ok := key.Signer.(ssh.AlgorithmSigner)
	if !ok {
		return failed(fmt.Errorf("has a key of type %q, which is not supported", key.PublicKey().Type()))
	}
	id.showBeside()
	id.public, id.signer = signer.PublicKey(), signer
	return nil
}

// show takes the public key, or the certificate of one, from the content of a file,
// if there is one.
func (id *identity) show(data []byte, path string) bool {
	pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return false
	}
	id.public = algorithms.PlainKey(pub)
	if cert, ok := pub.(*ssh.Certificate); ok && cert.CertType == ssh.UserCert {
		id.cert, id.certFile = cert, path
	}
	return true
}

// showBeside takes them from the .pub file beside a private key.
func (id *identity) showBeside() {
	if data, err := readAll(id.publicPath()); err == nil {
		id.show(data, id.publicPath())
	}
}

// loadCertificate reads the certificate beside the file. Without one, a certificate
// that the .pub file holds stays.
func (id *identity) loadCertificate() error {
	cert, err := loadCertificate("certificate beside the identity_file", id.certPath())
	switch {
	case err == nil:
		id.cert, id.certFile = cert, id.certPath()
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

func (cfg *Config) checkIdentity(file IdentityFile, key ssh.PublicKey) error {
	if err := cfg.CheckSize(key); err != nil {
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
	if err := secretFlaw(raw, value); err != nil {
		return "", fmt.Errorf("%s %w", what, err)
	}
	return value, nil
}

// isTokenKey tells whether a key is on a security token (FIDO, OpenSSH's
// PROTOCOL.u2f), which only an agent knows how to ask.
func isTokenKey(key ssh.PublicKey) bool { return strings.HasPrefix(key.Type(), "sk-") }

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
