package hostport

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// ParseDestination reads [user@]host[:port], or that as an ssh:// URL.
func ParseDestination(s string) (Server, error) {
	address := s
	rest, isURL := strings.CutPrefix(s, "ssh://")
	if isURL {
		address = strings.TrimSuffix(rest, "/")
	}
	at := strings.LastIndexByte(address, '@')
	if at >= 0 {
		if strings.Contains(address[:at], ":") {
			return Server{}, errors.New("has a password in it; write [user@]host[:port], and use --password, which asks for it")
		}
		if isURL {
			user, err := url.PathUnescape(address[:at])
			if err != nil {
				return Server{}, fmt.Errorf("%q: %w", s, err)
			}
			address, at = user+address[at:], len(user)
		}
	}
	if addr, err := netip.ParseAddr(address[at+1:]); err == nil && addr.Is6() {
		address = address[:at+1] + "[" + address[at+1:] + "]" // as ssh takes it
	}
	return ParseServer(address)
}
