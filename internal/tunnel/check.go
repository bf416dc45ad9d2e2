// check.go finds, before anything is connected, what cannot work.

package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostname"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// Check reads what cfg names, resolves its secrets and refuses what cannot
// work. It opens no connection and asks no agent. A file that does not exist
// (yet) is a warning; one that is no use as it is, is an error.
func (cfg *Config) Check() (warnings []string, err error) {
	c := &checker{cfg: cfg}
	for _, check := range []func() error{
		c.where, c.algorithms, c.secrets, c.identities, c.certificates, c.agent, c.something, c.hostKeys,
	} {
		if err := check(); err != nil {
			return c.warnings, err
		}
	}
	return c.warnings, nil
}

type checker struct {
	cfg      *Config
	warnings []string
	keyFiles int      // identity files that are there, or named
	useless  []string // why default identity files do not count
}

func (c *checker) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

// where checks addresses, user and the way there.
func (c *checker) where() error {
	addresses := c.cfg.Addresses()
	for i, address := range addresses {
		if slices.ContainsFunc(addresses[:i], func(other string) bool { return strings.EqualFold(other, address) }) {
			return fmt.Errorf("host %q is written twice; each is tried in its turn", address)
		}
		if err := c.address(address); err != nil {
			return err
		}
	}
	return c.way()
}

// address checks the address of a bastion.
func (c *checker) address(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("host %s is not <host>:<port>; write an IPv6 address in brackets", redact.Quote(address))
	}
	if err := hostname.CheckHost(host); err != nil {
		return fmt.Errorf("host %s: %w", redact.Quote(address), err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q of host %q is not a number from 1 to 65535", port, address)
	}
	if c.cfg.User == "" {
		return fmt.Errorf("no user to log in to %q as; add user", address)
	}
	if err := hostname.CheckUser(c.cfg.User); err != nil {
		return fmt.Errorf("user %s: %w", redact.Quote(c.cfg.User), err)
	}
	if c.cfg.HostKeyAlias != "" {
		if err := hostname.CheckAlias(c.cfg.HostKeyAlias); err != nil {
			return fmt.Errorf("host_key_alias %s: %w", redact.Quote(c.cfg.HostKeyAlias), err)
		}
	}
	family := c.cfg.AddressFamily
	switch family {
	case "", "any", "inet", "inet6":
	default:
		return fmt.Errorf("unknown address_family %q; one of any, inet, inet6", family)
	}
	literal, err := netip.ParseAddr(host)
	if c.cfg.Proxy != nil || len(c.cfg.ProxyCommand) > 0 {
		literal, err = netip.Addr{}, errors.ErrUnsupported // not we connect to it
	}
	if err == nil && !familyHas(family, literal) {
		return fmt.Errorf("host %q is not of address_family %s", address, family)
	}
	if c.cfg.BindAddress == "" {
		return nil
	}
	bind, err := netip.ParseAddr(c.cfg.BindAddress)
	if err != nil {
		return fmt.Errorf("bind_address %q is not an IP address", c.cfg.BindAddress)
	}
	if !familyHas(family, bind) {
		return fmt.Errorf("bind_address %q is not of address_family %s", c.cfg.BindAddress, family)
	}
	if literal.IsValid() && literal.Unmap().Is4() != bind.Unmap().Is4() {
		return fmt.Errorf("bind_address %q cannot reach %q: one is IPv4, the other IPv6", c.cfg.BindAddress, address)
	}
	return nil
}

// way checks the way to the bastion.
func (c *checker) way() error {
	p := c.cfg.Proxy
	if p != nil {
		host, _, err := net.SplitHostPort(p.Address)
		if err != nil {
			return fmt.Errorf("proxy %s is not <host>:<port>", redact.Quote(p.Address))
		}
		if err := hostname.CheckHost(host); err != nil {
			return fmt.Errorf("proxy %s: %w", redact.Quote(p.Address), err)
		}
	}
	if len(c.cfg.ProxyCommand) > 0 {
		switch {
		case p != nil:
			return errors.New("proxy and proxy_command are two ways to the bastion; keep one of them")
		case !dial.CommandsSupported:
			return errors.New("proxy_command is not supported on this system")
		case c.cfg.BindAddress != "":
			return errors.New("bind_address is for connections that we make, and not for those of proxy_command; remove one of them")
		}
		_, err := c.cfg.dialer().CommandLine()
		return err
	}
	if p == nil {
		return nil
	}
	if _, _, err := c.cfg.dialer().ProxyLogin(); err != nil {
		return err
	}
	if p.Password != "" {
		return c.secret("password of proxy "+p.String(), p.Password)
	}
	return nil
}

func familyHas(family string, addr netip.Addr) bool {
	return family != "inet" && family != "inet6" || (family == "inet") == addr.Unmap().Is4()
}

// algorithms checks the names of algorithms and the size of RSA keys.
func (c *checker) algorithms() error {
	for _, o := range c.cfg.Options() {
		warnings, err := o.Check()
		if err != nil {
			return err
		}
		c.warnings = append(c.warnings, warnings...)
	}
	switch size := c.cfg.RSASize(); {
	case size < 1024 || size > 16384:
		return fmt.Errorf("required_rsa_size %d is not from 1024 to 16384 bits", size)
	case size < algorithms.DefaultRSASize:
		c.warn("required_rsa_size %d: RSA keys of fewer than %d bits can be broken", size, algorithms.DefaultRSASize)
	}
	return nil
}

// secrets resolves them. Those that are written as they are, are told of.
func (c *checker) secrets() error {
	if err := c.secret("password", c.cfg.Password); err != nil {
		return err
	}
	for _, f := range c.cfg.IdentityFiles {
		if err := c.secret(fmt.Sprintf("passphrase of identity_file %q", f.Path), f.Passphrase); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) secret(what, raw string) error {
	if raw == "" {
		return nil
	}
	value, err := c.cfg.secret(what, raw)
	if err == nil && c.cfg.Resolve != nil && value == raw {
		c.warn("%s is written literally and shows in the configuration; use a placeholder, {env.NAME} or {file./path}", what)
	}
	return err
}

// identities reads the identity files.
func (c *checker) identities() error {
	if c.cfg.NoIdentityFiles && len(c.cfg.IdentityFiles) > 0 {
		return fmt.Errorf("identity_file none contradicts identity_file %q; keep one of them", c.cfg.IdentityFiles[0].Path)
	}
	for _, f := range c.cfg.IdentityFiles {
		err := c.identity(f)
		switch {
		case err == nil:
		case f.Optional:
			c.useless = append(c.useless, err.Error())
			c.warn("%v; it is left out, as by ssh", err)
		default:
			return err
		}
	}
	return nil
}

func (c *checker) identity(f IdentityFile) error {
	id, err := c.cfg.loadIdentity(f)
	c.slow(id)
	agentMayHoldIt := err != nil && id.public != nil && c.cfg.agentPath() != ""
	switch {
	case err == nil && isTokenKey(id.public) && c.cfg.agentPath() == "":
		err = readfile.Error("identity_file", f.Path, errors.New("is a key on a security token, which only an agent can sign with; add it to one with ssh-add, and set identity_agent or SSH_AUTH_SOCK"))
		if !f.Default {
			return err
		}
		c.useless = append(c.useless, err.Error())
		return nil
	case err == nil || agentMayHoldIt:
		c.keyFiles++
	case f.Default && errors.Is(err, fs.ErrNotExist):
		return nil
	case f.Default:
		c.useless = append(c.useless, err.Error())
		return nil
	case errors.Is(err, fs.ErrNotExist):
		c.keyFiles++
		c.warn("%v; the tunnel is down until it does, unless something else lets it in%s", err, id.agentHint())
		return nil
	case errors.Is(err, errNeedsPassphrase):
		return fmt.Errorf("%w; write it behind the path, as a placeholder, or add the key to an agent", err)
	default:
		return err
	}
	switch {
	case f.Default:
	case agentMayHoldIt:
		c.warn("%v: only the agent can sign with it", err)
	case id.signer == nil && c.cfg.agentPath() == "":
		return fmt.Errorf("identity_file %q has no private half, and there is no agent to sign with it; write the private key's path, or start an agent and set SSH_AUTH_SOCK", f.Path)
	}
	if err := id.loadCertificate(); err != nil {
		c.warn("%v", err)
	}
	switch {
	case id.cert == nil:
	case !algorithms.SameKey(id.cert.Key, id.public):
		c.warn("certificate %q is for another key than %q", id.certFile, f.Path)
	default:
		c.certificate(id.certFile, id.cert)
	}
	return nil
}

// certificates reads the certificate files.
func (c *checker) certificates() error {
	for _, path := range c.cfg.CertificateFiles {
		cert, err := loadCertificate("certificate_file", path)
		switch {
		case err == nil:
			c.certificate(path, cert)
		case errors.Is(err, fs.ErrNotExist):
			c.warn("%v; it is taken once it does", err)
		case c.cfg.OptionalCertificates:
			c.warn("%v; it is left out, as by ssh", err)
		default:
			return err
		}
	}
	return nil
}

// certificate warns of what a bastion would not tell.
func (c *checker) certificate(path string, cert *ssh.Certificate) {
	if err := algorithms.CheckValidity(cert); err != nil {
		c.warn("certificate %q %v and is passed over", path, err)
	}
	for _, flaw := range []string{optionFlaw(cert), principalFlaw(cert, c.cfg.User), forwardingFlaw(cert)} {
		if flaw != "" {
			c.warn("certificate %q %s", path, flaw)
		}
	}
}

// agent looks whether the agent's socket is there.
func (c *checker) agent() error {
	path := c.cfg.agentPath()
	if path == "" {
		return nil
	}
	if err := redact.CheckPath(path); err != nil { // of the environment, perhaps
		return fmt.Errorf("identity_agent: %w", err)
	}
	_, err := os.Stat(path)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) && (c.keyFiles > 0 || c.cfg.Password != ""):
		c.warn("identity_agent %q does not exist; its keys are offered once it does", path)
	case errors.Is(err, fs.ErrNotExist):
		c.warn("identity_agent %q does not exist; the tunnel is down until it does", path)
	default:
		return readfile.Error("identity_agent", path, readfile.PermissionError(path, readfile.RootCause(err)))
	}
	return nil
}

// something warns of a tunnel that has nothing to log in with: few servers accept
// the method "none" (RFC 4252 section 5.2).
func (c *checker) something() error {
	files := c.keyFiles > 0
	agentKeys := c.cfg.agentPath() != "" && (!c.cfg.IdentitiesOnly || len(c.cfg.CertificateFiles) > 0)
	if files || agentKeys || c.cfg.Password != "" {
		return nil
	}
	why := c.useless
	if c.cfg.IdentityAgent == agentFromEnvironment && c.cfg.agentPath() == "" {
		why = append(why, "SSH_AUTH_SOCK is not set")
	}
	detail := ""
	if len(why) > 0 {
		detail = " (" + strings.Join(why, ", ") + ")"
	}
	c.warn("nothing to authenticate as %q with: no identity file, agent or password%s; the tunnel is down, unless the bastion lets this user in without any; add identity_file or password", c.cfg.User, detail)
	return nil
}

// hostKeys reads what the bastions' host keys are verified against.
func (c *checker) hostKeys() error {
	if c.cfg.InsecureIgnoreHostKey && c.cfg.Password != "" {
		return errors.New("strict_host_key_checking no together with password would send it to anybody who answers; add host_key or known_hosts instead")
	}
	keys := c.cfg.hostKeys()
	warnings, err := keys.Check(c.cfg.Addresses())
	c.warnings = append(c.warnings, warnings...)
	return err
}
