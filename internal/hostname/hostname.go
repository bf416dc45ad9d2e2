// Package hostname refuses names of hosts and users that could be taken for something
// else where they end up: an option of a proxy_command, a line of a proxy's protocol, a
// pattern of a known_hosts file. It resolves nothing. Any package may import it.
package hostname

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// CheckHost refuses what can be no name or address of a host. What can is for the
// resolver to say.
func CheckHost(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		return nil
	} else if err == nil {
		return checkZone(ip.Zone())
	}
	switch {
	case host == "":
		return errors.New("no host; write [user@]host[:port]")
	case host[0] == '-':
		return errors.New("a host does not begin with a hyphen")
	}
	for _, r := range host {
		if strings.ContainsRune(`/\[]{}<>()"'%,;*?!|@:$&`+"`", r) || unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar {
			return fmt.Errorf("a host has no %q in it", r)
		}
	}
	return nil
}

// checkZone refuses what is no interface of an IPv6 address's zone.
func checkZone(zone string) error {
	for _, r := range zone {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r) {
			return fmt.Errorf("a zone has no %q in it", r)
		}
	}
	return nil
}

// CheckUser refuses what can be no user to log in as.
func CheckUser(user string) error {
	switch {
	case user == "":
		return errors.New("no user before the @")
	case user[0] == '-':
		return errors.New("a user does not begin with a hyphen")
	case strings.ContainsFunc(user, unicode.IsControl):
		return errors.New("a user has no control characters")
	}
	return nil
}

// CheckAlias refuses what can be no host_key_alias: it is looked up in known_hosts
// files, where it may have a port, and stands in the commands that errors show.
func CheckAlias(alias string) error {
	if alias[0] == '-' {
		return errors.New("a name does not begin with a hyphen")
	}
	for _, r := range alias {
		if strings.ContainsRune("'`\"$\\;&<>|(){},*?!", r) || unicode.IsSpace(r) || unicode.IsControl(r) {
			return fmt.Errorf("a name has no %q in it", r)
		}
	}
	return nil
}
