// check.go finds, before anything is connected, what cannot work.

package connect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostname"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// Check reads what cfg names, resolves its secrets and refuses what cannot
// work. It opens no connection and asks no agent. A file that does not exist
// (yet) is a warning; one that is no use as it is, is an error.
func (cfg *Config) Check() (warnings []string, err error) {
	c := &checker{cfg: cfg}
	for _, check := range []func() error{c.where, c.algorithms, c.auth, c.hostKeys} {
		if err := check(); err != nil {
			return c.warnings, err
		}
	}
	return c.warnings, nil
}

type checker struct {
	cfg      *Config
	warnings []string
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
		case !subprocess.Supported:
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
		warning, err := readfile.CheckSecret("password of proxy "+p.String(), p.Password, c.cfg.Resolve)
		if warning != "" {
			c.warnings = append(c.warnings, warning)
		}
		return err
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

// auth checks what the tunnel authenticates with.
func (c *checker) auth() error {
	warnings, err := c.cfg.Auth().Check()
	c.warnings = append(c.warnings, warnings...)
	return err
}

// hostKeys reads what the bastion's host key is verified against.
func (c *checker) hostKeys() error {
	if c.cfg.InsecureIgnoreHostKey && c.cfg.Password != "" {
		return errors.New("strict_host_key_checking no together with password would send it to anybody who answers; add host_key or known_hosts instead")
	}
	keys := c.cfg.hostKeys()
	warnings, err := keys.Check(c.cfg.Addresses())
	c.warnings = append(c.warnings, warnings...)
	return err
}
