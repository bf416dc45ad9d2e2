package hostport

// destination.go reads the SSH servers of command lines.

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Destination is an SSH server as it was written. What was not is "".
type Destination struct{ User, Host, Port string }

// ParseDestination reads [user@]host[:port], or that as an ssh:// URL.
func ParseDestination(s string) (Destination, error) {
	address := s
	rest, isURL := strings.CutPrefix(s, "ssh://")
	if isURL {
		address = strings.TrimSuffix(rest, "/")
	}
	at := strings.LastIndexByte(address, '@')
	if at >= 0 {
		if strings.Contains(address[:at], ":") {
			return Destination{}, errors.New("has a password in it; write [user@]host[:port], and use --password, which asks for it")
		}
		if isURL {
			user, err := url.PathUnescape(address[:at])
			if err != nil {
				return Destination{}, fmt.Errorf("%q: %w", s, err)
			}
			address, at = user+address[at:], len(user)
		}
	}
	if addr, err := netip.ParseAddr(address[at+1:]); err == nil && addr.Is6() {
		address = address[:at+1] + "[" + address[at+1:] + "]" // as ssh takes it
	}
	user, host, port, err := SplitServer(address)
	if err != nil {
		return Destination{}, err
	}
	if !HasPort(address) {
		port = ""
	}
	return Destination{user, host, port}, nil
}
