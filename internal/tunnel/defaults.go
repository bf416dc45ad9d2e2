// defaults.go fills in what ssh would use where nothing is written.

package tunnel

import (
	"path/filepath"
	"slices"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
)

// defaultIdentities are the private keys that ssh tries since OpenSSH 10, in its
// order. Of the last, an error can say no more than that it is not supported.
var defaultIdentities = []string{"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_mldsa44_ed25519"}

// ApplyDefaults fills in what is not written as ssh does for a user whose home
// directory is home. Without a home ("") only the system's known_hosts files
// and the agent are left.
//
// As soon as an identity file, a certificate, an agent or a password is
// written, only what is written is offered:
//
//   - an identity or certificate file sets IdentitiesOnly, unless an agent is
//     written too: of the agent that SSH_AUTH_SOCK names only the keys that
//     belong to those files are offered. "identities_only no" is therefore an
//     IdentityAgent of "SSH_AUTH_SOCK";
//   - a written agent's keys are offered, but no default file;
//   - a password alone leaves out both;
//   - with certificate files alone, the default identity files are read for
//     their private keys, and offered with those certificates only.
//
// "identity_file none" and "identity_agent none" are no identities: the one
// leaves the agent, the other the default files.
//
// As soon as a known_hosts file, a host key or an authority is written, the
// default known_hosts files are not read.
func (cfg *Config) ApplyDefaults(home string) {
	agentWritten := cfg.IdentityAgent != "" && cfg.IdentityAgent != "none"
	filesWritten := len(cfg.IdentityFiles) > 0 || len(cfg.CertificateFiles) > 0
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
	wantFiles := len(cfg.IdentityFiles) == 0 && !cfg.NoIdentityFiles && !agentWritten &&
		(cfg.Password == "" || len(cfg.CertificateFiles) > 0)
	if wantFiles && home != "" {
		for _, name := range defaultIdentities {
			cfg.IdentityFiles = append(cfg.IdentityFiles, IdentityFile{Path: filepath.Join(home, ".ssh", name), Default: true})
		}
	}
	if len(cfg.KnownHosts)+len(cfg.HostKeys)+len(cfg.HostCertificateAuthorities) == 0 {
		user, system := hostkey.DefaultKnownHosts(home)
		cfg.KnownHosts = slices.Concat(user, system)
	}
}

// files returns every path whose change could change how a connect ends.
func (cfg *Config) files() []string { return append(cfg.credentialFiles(), cfg.hostKeys().Files()...) }

// credentialFiles are those of them that decide whether the bastion accepts us.
func (cfg *Config) credentialFiles() []string {
	var paths []string
	for _, f := range cfg.IdentityFiles {
		paths = append(paths, f.Path, f.certPath())
		if public := f.publicPath(); public != f.Path {
			paths = append(paths, public)
		}
	}
	paths = append(paths, cfg.CertificateFiles...)
	if path := cfg.agentPath(); path != "" && !isPipe(path) {
		paths = append(paths, path)
	}
	return paths
}
