// Package hostkey decides whether a server is the right one: by known_hosts files,
// configured keys, certificates, revocations, and keys that were accepted at first
// sight. It makes no connection, and knows no tunnel and no user. The packages that make
// SSH connections, read configurations or keep learned keys import it.
package hostkey

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// Config says which host keys a server may have. Its fields are named after their
// ssh_config(5) keyword where one exists.
type Config struct {
	// Address is the server's "host:port".
	Address string

	// Via are the names of the servers to jump through, as KnownName returns them,
	// the first to dial first.
	Via []string

	// KnownHosts are known_hosts files (sshd(8)). Absent ones count as empty.
	KnownHosts []string

	// HostKeys are keys that the server may have: "SHA256:<fingerprint>" or
	// "<type> <base64>".
	HostKeys []string

	// HostCertificateAuthorities are keys that may have signed the server's host
	// certificate (OpenSSH's PROTOCOL.certkeys): "<type> <base64>" or the path of a .pub
	// file.
	HostCertificateAuthorities []string

	// KnownHostsCommand writes known_hosts lines, which count besides those of
	// KnownHosts. If nil, there is none. If it fails, no key is accepted.
	KnownHostsCommand *Command

	// HostKeyAlias is looked up in KnownHosts and in a certificate's principals
	// instead of the host of Address.
	HostKeyAlias string

	// RevokedHostKeys are files of public keys, one a line, that are accepted neither
	// as the server's nor as its authority's, whatever the others say.
	RevokedHostKeys []string

	// AcceptNewHostKey is "strict_host_key_checking accept-new": if nothing is known
	// about the server, the first key that it shows is remembered in Memory, and no
	// other is accepted from then on but for UpdateHostKeys.
	AcceptNewHostKey bool

	// UpdateHostKeys lets a server whose key was remembered change which keys are: see
	// Verifier.Update.
	UpdateHostKeys bool

	// Memory is where keys are remembered if AcceptNewHostKey is set. If nil, none is,
	// and one that is new is refused.
	Memory Memory

	// TrustLoopback is NoHostAuthenticationForLocalhost of ssh_config(5): whatever server
	// answers at a loopback address is accepted, if we connect to that ourselves.
	TrustLoopback bool

	// InsecureIgnoreHostKey is "strict_host_key_checking no".
	InsecureIgnoreHostKey bool

	// Lists are the algorithms, of which HostKeyAlgorithms, CASignatureAlgorithms and
	// RequiredRSASize count.
	algorithms.Lists
}

// Route returns what the server's key is remembered by.
func (cfg *Config) Route() Route {
	return Route{Name: KnownName(cfg.Address, cfg.HostKeyAlias), Via: cfg.Via}
}

// KnownName returns the name of a server at "host:port" as known_hosts files have it:
// "host", "[host]:port", or the alias if there is one.
func KnownName(address, hostKeyAlias string) string {
	return lookupNames(address, hostKeyAlias).name
}

// Files returns the files whose change could change which keys are accepted.
func (cfg *Config) Files() []string {
	paths := slices.Clone(cfg.KnownHosts)
	for _, s := range cfg.HostCertificateAuthorities {
		if isAuthorityPath(s) {
			paths = append(paths, s)
		}
	}
	return append(paths, cfg.RevokedHostKeys...)
}

// DefaultKnownHosts returns the known_hosts files that are read if none is configured:
// the user's, none without a home (""), and the system's.
func DefaultKnownHosts(home string) (user, system []string) {
	if home != "" {
		user = []string{filepath.Join(home, ".ssh", "known_hosts"), filepath.Join(home, ".ssh", "known_hosts2")}
	}
	return user, systemKnownHosts()
}

func systemKnownHosts() []string {
	dir := "/etc/ssh"
	if runtime.GOOS == "windows" {
		dir = filepath.Join(os.Getenv("ProgramData"), "ssh")
	}
	return []string{filepath.Join(dir, "ssh_known_hosts"), filepath.Join(dir, "ssh_known_hosts2")}
}

// defaultKnownHosts reports whether the known_hosts files are the default ones, which may
// be absent or unreadable without a warning. Nobody writes both of the system's at the
// end.
func (cfg *Config) defaultKnownHosts() bool {
	system := systemKnownHosts()
	n := len(cfg.KnownHosts) - len(system)
	return n >= 0 && slices.Equal(cfg.KnownHosts[n:], system)
}

// orKnownHosts is what an error adds where it advises to write host_key.
func (cfg *Config) orKnownHosts() string {
	if len(cfg.KnownHosts) > 0 && !slices.ContainsFunc(cfg.KnownHosts, func(path string) bool { return path != os.DevNull }) {
		return ""
	}
	return " or a known_hosts line"
}
