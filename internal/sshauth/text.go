// text.go reads keys and certificates that an option holds as text, most often by a
// placeholder.

package sshauth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// Identity is a private key that is in no file: a text, or one that Caddy generates.
type Identity struct {
	// Text is a secret (see Config.Resolve): a private key in OpenSSH or PEM form, as
	// keyfile.FromText reads it.
	Text string `json:",omitempty"`

	// Passphrase is a secret, or "".
	Passphrase string `json:",omitempty"`

	// Generated is, instead of Text, the name that a KeyStore keeps a generated key
	// under: that of the tunnel.
	Generated string `json:",omitempty"`
}

// onePlaceholder is a value that is one of Caddy's placeholders and nothing else. What is
// in other braces may be a secret.
var onePlaceholder = regexp.MustCompile(`^\{(?:env|file)\.[^{}]+\}$`)

// textOption names the nth value of an option, as in `identity 1 ({env.BASTION_KEY})`. It
// shows a placeholder, and nothing that may be a secret.
func textOption(option string, n int, raw string) string {
	name := fmt.Sprintf("%s %d", option, n+1)
	if onePlaceholder.MatchString(raw) && redact.Path(raw) == nil {
		name += " (" + raw + ")"
	}
	return name
}

// text returns the content of the file of a key that a value stands for. option is as
// textOption returns it. If the value is the placeholder of a file that does not exist, the
// error wraps fs.ErrNotExist.
func (cfg *Config) text(option, raw string) ([]byte, error) {
	value := raw
	if cfg.Resolve != nil {
		var err error
		if value, err = cfg.Resolve(raw); err != nil {
			if path, ok := readfile.PlaceholderFile(raw); ok {
				if _, statErr := os.Stat(path); errors.Is(statErr, fs.ErrNotExist) {
					return nil, readfile.Error(option+": file", path, statErr)
				}
			}
			return nil, fmt.Errorf("%s: %w", option, err)
		}
	}
	data := keyfile.FromText(value)
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil, fmt.Errorf("%s is empty; check what its placeholder stands for", option)
	}
	return data, nil
}

// literal reports whether a value is written as it is.
func (cfg *Config) literal(raw string) bool {
	if cfg.Resolve == nil || raw == "" {
		return false
	}
	value, err := cfg.Resolve(raw)
	return err == nil && value == raw
}

// errIsPath is a text that is none of a key, and may be a path.
var errIsPath = errors.New("is not the text of a private key; for a path write identity_file")

// loadText reads the nth of Identities, which is a text.
func (cfg *Config) loadText(n int) (identity, error) {
	given := cfg.Identities[n]
	id := identity{option: textOption("identity", n, given.Text), IdentityFile: IdentityFile{Passphrase: given.Passphrase}}
	id.source = id.option
	data, err := cfg.text(id.option, given.Text)
	switch {
	case err != nil:
	case keyfile.HasPrivateKey(data):
		err = cfg.loadPrivate(&id, data)
	case redact.Path(string(data)) == nil:
		err = id.failed(errIsPath)
	case id.show(data, ""):
		id.public = nil
		err = id.failed(errors.New("is a public key or a certificate; write the private key, or the certificate as certificate"))
	default:
		_, parseErr := keyfile.Parse(data, "")
		err = id.failed(keyfile.ExplainText(data, parseErr))
	}
	return cfg.loaded(id, err)
}

// loadTexts reads Identities: those that are texts, and those of Generated. found gets
// each in turn, with the error why it cannot be used.
func (cfg *Config) loadTexts(found func(identity, error)) {
	for n, given := range cfg.Identities {
		if given.Generated == "" {
			found(cfg.loadText(n))
			continue
		}
		for _, signer := range cfg.Generated {
			found(cfg.generated(signer), nil)
		}
	}
}

// textCertificate reads the nth of Certificates.
func (cfg *Config) textCertificate(n int) (namedCert, error) {
	raw := cfg.Certificates[n]
	option := textOption("certificate", n, raw)
	data, err := cfg.text(option, raw)
	if err != nil {
		return namedCert{}, err
	}
	cert, err := parseCertificate(data)
	switch {
	case err == nil:
		path, _ := readfile.PlaceholderFile(raw)
		return namedCert{cert, path, option, raw}, nil
	case redact.Path(string(data)) == nil:
		return namedCert{}, fmt.Errorf("%s is not the text of an OpenSSH certificate; for a path write certificate_file", option)
	case keyfile.HasPrivateKey(data):
		return namedCert{}, fmt.Errorf("%s is a private key; write it as identity", option)
	default:
		return namedCert{}, fmt.Errorf("%s %w", option, err)
	}
}

// errNoCertificate is a text that is neither a certificate nor a public key.
var errNoCertificate = errors.New("is not an OpenSSH certificate")

// parseCertificate parses a user's certificate. The error follows the name of what it is
// in.
func parseCertificate(data []byte) (*ssh.Certificate, error) {
	pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil, errNoCertificate
	}
	cert, ok := pub.(*ssh.Certificate)
	switch {
	case !ok:
		return nil, errors.New("is a public key, not a certificate")
	case cert.CertType != ssh.UserCert:
		return nil, errors.New("is not a user certificate")
	}
	return cert, nil
}

// textFiles returns the files that placeholders of keys and certificates stand for.
func (cfg *Config) textFiles() (paths []string) {
	for _, raw := range append(cfg.keyTexts(), cfg.Certificates...) {
		if path, ok := readfile.PlaceholderFile(raw); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// keyTexts returns the texts of Identities and their passphrases, unresolved.
func (cfg *Config) keyTexts() (texts []string) {
	for _, id := range cfg.Identities {
		for _, raw := range []string{id.Text, id.Passphrase} {
			if raw != "" {
				texts = append(texts, raw)
			}
		}
	}
	return texts
}

// Secrets returns all secrets, unresolved.
func (cfg *Config) Secrets() (secrets []string) {
	secrets = append(cfg.keyTexts(), cfg.Certificates...)
	if cfg.Password != "" {
		secrets = append(secrets, cfg.Password)
	}
	for _, f := range cfg.IdentityFiles {
		if f.Passphrase != "" {
			secrets = append(secrets, f.Passphrase)
		}
	}
	return secrets
}

// KeyFiles returns the paths of the files that private keys are read from.
func (cfg *Config) KeyFiles() (paths []string) {
	for _, f := range cfg.IdentityFiles {
		paths = append(paths, f.Path)
	}
	for _, id := range cfg.Identities {
		if path, ok := readfile.PlaceholderFile(id.Text); ok {
			paths = append(paths, path)
		}
	}
	return paths
}
