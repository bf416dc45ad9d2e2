// defaults.go fills in what ssh would use where nothing is written.

package connect

import (
	"slices"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
)

// ApplyDefaults fills in what is not written as ssh does for a user whose home
// directory is home. Without a home ("") only the system's known_hosts files
// and the agent are left.
//
// What to authenticate with is filled in as sshauth.Config.ApplyDefaults says.
//
// As soon as a known_hosts file, a host key or an authority is written, the
// default known_hosts files are not read.
func (cfg *Config) ApplyDefaults(home string) {
	auth := cfg.Auth()
	auth.ApplyDefaults(home)
	cfg.IdentityFiles, cfg.IdentityAgent, cfg.IdentitiesOnly = auth.IdentityFiles, auth.IdentityAgent, auth.IdentitiesOnly
	if len(cfg.KnownHosts)+len(cfg.HostKeys)+len(cfg.HostCertificateAuthorities) == 0 {
		user, system := hostkey.DefaultKnownHosts(home)
		cfg.KnownHosts = slices.Concat(user, system)
	}
}

// Files returns every path whose change could change how a connect ends.
func (cfg *Config) Files() []string { return append(cfg.Auth().Files(), cfg.hostKeys().Files()...) }
