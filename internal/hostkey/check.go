package hostkey

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// Check reads what the keys of the servers at addresses are verified against, and
// refuses what cannot work. A tunnel connects to one of them; cfg.Address does not
// count. A file that does not exist (yet) is a warning; one that cannot be used is an
// error.
func (cfg *Config) Check(addresses []string) (warnings []string, err error) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if cfg.InsecureIgnoreHostKey {
		warn("strict_host_key_checking no: whoever answers at %s is trusted, and can read and change all that goes through the tunnel; add host_key or known_hosts instead", strings.Join(printable.Quoted(addresses), " or "))
	}
	down := "the tunnel is down"
	if len(addresses) > 1 {
		down = "this host is of no use"
	}
	for _, address := range addresses {
		one := *cfg
		one.Address = address
		w, err := one.checkAddress(down)
		for _, warning := range w {
			if !slices.Contains(warnings, warning) {
				warnings = append(warnings, warning)
			}
		}
		if err != nil {
			return warnings, err
		}
	}
	if cfg.defaultKnownHosts() {
		return warnings, nil
	}
	for _, path := range cfg.KnownHosts {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			warn("known_hosts %q does not exist; it is read once it does", path)
		}
	}
	return warnings, nil
}

// checkAddress is Check for cfg.Address. down is what a server is of which no key is
// known.
func (cfg *Config) checkAddress(down string) (warnings []string, err error) {
	v, warnings, err := read(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.KnownHostsCommand != nil { // which has not been asked
		return warnings, nil
	}
	if err := v.noAlgorithms(); err != nil {
		warnings = append(warnings, fmt.Sprintf("%v; the tunnel is down until there is one", err))
	}
	nothingWritten := len(cfg.HostKeys)+len(cfg.HostCertificateAuthorities) == 0 && (len(cfg.KnownHosts) == 0 || cfg.defaultKnownHosts())
	switch {
	case cfg.InsecureIgnoreHostKey, cfg.AcceptNewHostKey, cfg.TrustLoopback:
	case nothingWritten && len(v.searched) == 0:
		return warnings, &failure.HostKeyError{
			Message: fmt.Sprintf("no known_hosts file or host_key to verify %q against; run 'caddy ssh-tunnel keyscan %s' and add the host_key that it prints", cfg.Address, scanArgument(cfg.Address)),
			Cause:   failure.CauseHostKeyUnknown,
		}
	case !v.knowsAnything():
		warnings = append(warnings, fmt.Sprintf("nothing in %s is about %s; %s until there is: add host_key%s, which 'caddy ssh-tunnel keyscan %s' prints",
			cfg.sourceNames(), v.names.name, down, cfg.orKnownHosts(), scanArgument(cfg.Address)))
	}
	return warnings, nil
}

// Warnings says what is not read of the files that the host key is verified against, as
// in "known_hosts line /etc/ssh/ssh_known_hosts:3 is skipped: …".
func (cfg *Config) Warnings() []string {
	_, warnings, _ := read(cfg) // its error is a connect's
	return warnings
}

// scanArgument is an address as a person types it.
func scanArgument(address string) string {
	if host, ok := strings.CutSuffix(address, ":22"); ok {
		return host
	}
	return address
}

// sourceNames lists where host keys are looked for.
func (cfg *Config) sourceNames() string {
	names := append([]string{}, cfg.KnownHosts...)
	if len(cfg.HostKeys) > 0 {
		names = append(names, "host_key")
	}
	if len(cfg.HostCertificateAuthorities) > 0 {
		names = append(names, "host_certificate_authority")
	}
	return strings.Join(names, ", ")
}
