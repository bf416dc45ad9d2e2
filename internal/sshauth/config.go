// config.go says what a login authenticates with.

package sshauth

import (
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// Config says as whom a login authenticates, and with what. Its files are read
// anew at each login.
//
// Fields are named after their ssh_config(5) keyword where one exists.
type Config struct {
	// User is the login name on the server.
	User string

	// Names are those of the server. Where a prompt shows one of them, or User, it says
	// nothing about what the prompt asks for.
	Names []string

	// IdentityFiles are offered in this order. See IdentityFile.
	IdentityFiles []IdentityFile

	// Identities are offered after IdentityFiles, in this order.
	Identities []Identity

	// Generated are the keys of that of Identities which is generated, in the order of
	// KeyStore.LoginKeys. Without any, it is not offered.
	Generated []ssh.Signer

	// NoIdentityFiles is "identity_file none": no private key file is read,
	// the default ones included.
	NoIdentityFiles bool

	// CertificateFiles are OpenSSH certificates for keys among IdentityFiles
	// or in the agent, besides the "-cert.pub" beside each identity file.
	CertificateFiles []string

	// Certificates are OpenSSH certificates as texts (see keyfile.FromText), most often by a
	// placeholder that Resolve resolves. Each is for whichever key it names.
	Certificates []string

	// OptionalCertificates marks CertificateFiles of an ssh_config: one that
	// cannot be used is left out with a warning.
	OptionalCertificates bool

	// IdentityAgent is the path of the agent's socket or, on Windows, named pipe,
	// "none" for no agent, or "SSH_AUTH_SOCK" for what this environment variable
	// names. Where that is not set, on Windows, it is the pipe of the agent that
	// comes with it, if that runs.
	IdentityAgent string

	// IdentitiesOnly keeps keys of the agent from being offered unless an
	// identity or certificate file names them.
	IdentitiesOnly bool

	// Password is a secret (see Resolve) for the method "password" and for a
	// "keyboard-interactive" dialogue that has one hidden password prompt.
	Password string

	// PreferredAuthentications are the methods to try, in this order. If nil, those of
	// ssh. Those that Password is for come last if it is set and they are not listed.
	PreferredAuthentications []string

	// Lists are the algorithms. Those of keys (PubkeyAcceptedAlgorithms and
	// RequiredRSASize) are in force here.
	algorithms.Lists

	// Resolve turns a secret as it was configured (Password, a Passphrase) into
	// its value. If nil, secrets stand for themselves.
	Resolve func(secret string) (string, error)
}

// IdentityFile is a private key to authenticate with.
type IdentityFile struct {
	// Path of a private key in OpenSSH or PEM form, or of a public key (.pub)
	// whose private half the agent holds; of one that is absent, Path + ".pub" is
	// read. A certificate at Path + "-cert.pub", or in the .pub, is taken with it.
	Path string

	// Passphrase is a secret (see Config.Resolve), or "".
	Passphrase string

	// Default marks a file that the user did not name: it is ignored if it is absent or
	// encrypted.
	Default bool

	// Optional marks a file of an ssh_config: one that cannot be used is left out
	// with a warning, and the next one is offered.
	Optional bool `json:"-"`
}

// defaultIdentities are the private keys that ssh tries since OpenSSH 10, in its
// order. Of the last, an error can say no more than that it is not supported.
var defaultIdentities = []string{"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_mldsa44_ed25519"}

// ApplyDefaults fills in what is not written as ssh does for a user whose home
// directory is home. Without a home ("") only the agent is left.
//
// As soon as an identity, a certificate, an agent or a password is
// written, only what is written is offered:
//
//   - an identity or certificate, as a file or a text, sets IdentitiesOnly, unless an
//     agent is written too: of the agent that SSH_AUTH_SOCK names only the keys that
//     belong to those are offered. "identities_only no" is therefore an
//     IdentityAgent of "SSH_AUTH_SOCK";
//   - a written agent's keys are offered, but no default file;
//   - a password alone leaves out both;
//   - with certificates alone, the default identity files are read for
//     their private keys, and offered with those certificates only.
//
// "identity_file none" and "identity_agent none" are no identities: the one
// leaves the agent, the other the default files.
func (cfg *Config) ApplyDefaults(home string) {
	agentWritten := cfg.IdentityAgent != "" && cfg.IdentityAgent != "none"
	certificatesWritten := len(cfg.CertificateFiles)+len(cfg.Certificates) > 0
	filesWritten := len(cfg.IdentityFiles)+len(cfg.Identities) > 0 || certificatesWritten
	if filesWritten && !agentWritten {
		cfg.IdentitiesOnly = true
	}
	if cfg.IdentityAgent == "" {
		if cfg.Password != "" && !filesWritten {
			cfg.IdentityAgent = "none"
		} else {
			cfg.IdentityAgent = agentFromEnvironment
		}
	}
	wantFiles := len(cfg.IdentityFiles)+len(cfg.Identities) == 0 && !cfg.NoIdentityFiles && !agentWritten &&
		(cfg.Password == "" || certificatesWritten)
	if wantFiles && home != "" {
		for _, name := range defaultIdentities {
			cfg.IdentityFiles = append(cfg.IdentityFiles, IdentityFile{Path: filepath.Join(home, ".ssh", name), Default: true})
		}
	}
}

// Files returns the paths whose change may change whether the server accepts a login:
// keys, their .pub files and certificates, those that placeholders of these stand for, and
// the agent's socket.
func (cfg *Config) Files() []string {
	var paths []string
	for _, f := range cfg.IdentityFiles {
		paths = append(paths, f.Path, f.certPath())
		if public := f.publicPath(); public != f.Path {
			paths = append(paths, public)
		}
	}
	paths = append(append(paths, cfg.CertificateFiles...), cfg.textFiles()...)
	if path := cfg.AgentPath(); path != "" && !isPipe(path) {
		paths = append(paths, path)
	}
	return paths
}
