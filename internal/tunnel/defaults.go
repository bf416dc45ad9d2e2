// defaults.go fills in what ssh would use where nothing is written.

package tunnel

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
	auth := cfg.auth()
	auth.ApplyDefaults(home)
	cfg.IdentityFiles, cfg.IdentityAgent, cfg.IdentitiesOnly = auth.IdentityFiles, auth.IdentityAgent, auth.IdentitiesOnly
	if len(cfg.KnownHosts)+len(cfg.HostKeys)+len(cfg.HostCertificateAuthorities) == 0 {
		user, system := DefaultKnownHosts(home)
		cfg.KnownHosts = slices.Concat(user, system)
	}
}

// DefaultKnownHosts returns the known_hosts files that are read where nothing
// is written: the user's, none without a home (""), and the whole machine's.
func DefaultKnownHosts(home string) (user, system []string) {
	if home != "" {
		user = []string{filepath.Join(home, ".ssh", "known_hosts"), filepath.Join(home, ".ssh", "known_hosts2")}
	}
	return user, systemKnownHosts()
}

// systemKnownHosts are the known_hosts files of the whole machine.
func systemKnownHosts() []string {
	dir := "/etc/ssh"
	if runtime.GOOS == "windows" {
		dir = filepath.Join(os.Getenv("ProgramData"), "ssh")
	}
	return []string{filepath.Join(dir, "ssh_known_hosts"), filepath.Join(dir, "ssh_known_hosts2")}
}

// defaultKnownHosts tells whether the known_hosts files are the default ones,
// which may be absent or unreadable without a word. Nobody writes both of the
// system's at the end.
func (cfg *Config) defaultKnownHosts() bool {
	system := systemKnownHosts()
	n := len(cfg.KnownHosts) - len(system)
	return n >= 0 && slices.Equal(cfg.KnownHosts[n:], system)
}

// files returns every path whose change could change how a connect ends.
func (cfg *Config) files() []string { return append(cfg.auth().Files(), cfg.hostKeyFiles()...) }

// hostKeyFiles are those of them that decide whether we accept the bastion.
func (cfg *Config) hostKeyFiles() []string {
	paths := slices.Clone(cfg.KnownHosts)
	for _, s := range cfg.HostCertificateAuthorities {
		if isAuthorityPath(s) {
			paths = append(paths, s)
		}
	}
	return append(paths, cfg.RevokedHostKeys...)
}
