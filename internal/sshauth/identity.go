// identity.go reads the files of a user's keys.

package sshauth

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// errNeedsPassphrase is returned, with the public key where the file shows it,
// for an encrypted private key that no passphrase was given for.
var errNeedsPassphrase = errors.New("is encrypted and has no passphrase")

// identity is what an identity file holds, or a text, or a generated key.
type identity struct {
	IdentityFile // its Path is "" without a file
	// option is how errors name it, source how an offer does.
	option, source string
	// rankedAs is the blob of the key whose place among the offers it takes, or "".
	rankedAs string
	public   ssh.PublicKey       // a plain key, or nil if nothing shows it
	signer   ssh.AlgorithmSigner // nil if the private half is left to the agent
	cert     *ssh.Certificate    // the one beside the file, or in its .pub, or nil
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
	id := identity{IdentityFile: file, option: "identity_file " + redact.Quote(file.Path), source: file.Path}
	data, err := readfile.Read("identity_file", file.Path)
	switch {
	case err != nil:
		id.showBeside()
	case keyfile.HasPrivateKey(data):
		err = cfg.loadPrivate(&id, data)
	case !id.show(data, file.Path):
		_, err = keyfile.Parse(data, "")
		err = readfile.Error("identity_file", file.Path, keyfile.Explain(file.Path, data, err))
		id.showBeside()
	}
	return cfg.loaded(id, err)
}

// loaded returns an identity that was read with err, unless it is too short.
func (cfg *Config) loaded(id identity, err error) (identity, error) {
	if id.public != nil {
		if weak := cfg.CheckSize(id.public); weak != nil {
			id.public, id.signer = nil, nil
			err = cmp.Or(err, id.failed(fmt.Errorf("cannot be used: %w; make one with ssh-keygen -t ed25519", weak)))
		}
	}
	id.err = err
	return id, err
}

// failed returns an error that says why the identity cannot be used.
func (id *identity) failed(err error) error {
	if id.Path == "" {
		return fmt.Errorf("%s %w", id.option, err)
	}
	return readfile.Error("identity_file", id.Path, err)
}

// explain says what is wrong with the private key that data is, and err the error of.
func (id *identity) explain(data []byte, err error) error {
	if id.Path == "" {
		return keyfile.ExplainText(data, err)
	}
	return keyfile.Explain(id.Path, data, err)
}

// loadPrivate reads the private key of an identity.
func (cfg *Config) loadPrivate(id *identity, data []byte) error {
	// A key on a security token: the file holds no more than a handle, which the
	// agent knows how to use.
	if pub := keyfile.EmbeddedPublicKey(data); pub != nil && isTokenKey(pub) {
		id.public = pub
		return nil
	}
	passphrase := ""
	if id.Passphrase != "" && keyfile.Encrypted(data) {
		var err error
		if passphrase, err = readfile.Secret("passphrase of "+id.option, id.Passphrase, cfg.Resolve); err != nil {
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
		return id.failed(cmp.Or(keyfile.ExplainLocked(cmp.Or(id.Path, "key"), data), errNeedsPassphrase))
	case err != nil:
		if !errors.Is(err, x509.IncorrectPasswordError) {
			id.showBeside()
		}
		return id.failed(id.explain(data, err))
	}
	signer, ok := key.Signer.(ssh.AlgorithmSigner)
	if !ok {
		return id.failed(fmt.Errorf("has a key of type %q, which is not supported", key.PublicKey().Type()))
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
	if id.Path == "" {
		return
	}
	if data, err := readfile.All(id.publicPath()); err == nil {
		id.show(data, id.publicPath())
	}
}

// loadCertificate reads the certificate beside the file. Without one, a certificate
// that the .pub file holds stays.
func (id *identity) loadCertificate() error {
	if id.Path == "" {
		return nil
	}
	cert, err := loadCertificate("certificate beside the identity_file", id.certPath())
	switch {
	case err == nil:
		id.cert, id.certFile = cert, id.certPath()
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// isTokenKey reports whether a key is on a security token (FIDO, OpenSSH's
// PROTOCOL.u2f), which only an agent knows how to ask.
func isTokenKey(key ssh.PublicKey) bool { return strings.HasPrefix(key.Type(), "sk-") }
