// Package hostport reads addresses as people write them: of SSH servers, of targets, to
// listen on, and as behind ssh's -L, -R and -D. It replaces no placeholders, resolves no
// names and opens nothing. All packages above tunnel may import it.
package hostport

// server.go takes a bastion's address apart.

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostname"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// SplitServer splits "[user@]host[:port]". The user is "" and the port "22" if
// they are not written. A user may have an @ in it, a host may not. IPv6
// addresses stand in brackets, and are returned without.
func SplitServer(s string) (user, host, port string, err error) {
	fail := func(problem string) (string, string, string, error) {
		return "", "", "", fmt.Errorf("%s: %s", redact.Quote(s), problem)
	}
	_, bare, isURL := strings.Cut(s, "://")
	if !isURL {
		bare = s
	}
	if i := strings.LastIndexByte(bare, '@'); i >= 0 && strings.Contains(bare[:i], ":") {
		// Not shown: it may be a secret, and would be in every log line.
		return "", "", "", errors.New("a password in the address; write [user@]host[:port], and the option password {env.NAME}")
	}
	if isURL {
		return fail("a URL; write [user@]host[:port]")
	}

	rest := s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		user, rest = s[:i], s[i+1:]
		if err := hostname.CheckUser(user); err != nil {
			return fail(err.Error())
		}
	}

	port = "22"
	if inner, ok := strings.CutPrefix(rest, "["); ok {
		host, rest, ok = strings.Cut(inner, "]")
		if ip, err := netip.ParseAddr(host); !ok || err != nil || !ip.Is6() {
			return fail("brackets are for an IPv6 address, as in [2001:db8::1]:22")
		}
		if err := hostname.CheckHost(host); err != nil {
			return fail(err.Error())
		}
		if rest != "" {
			if port, ok = strings.CutPrefix(rest, ":"); !ok {
				return fail("expected :port after the bracket")
			}
		}
	} else {
		var hasPort bool
		host, rest, hasPort = strings.Cut(rest, ":")
		if hasPort {
			port = rest
		}
		if strings.Contains(port, ":") {
			return fail("put an IPv6 address in brackets, as in [2001:db8::1]:22")
		}
		if err := hostname.CheckHost(host); err != nil {
			return fail(err.Error())
		}
	}

	n, ok := portNumber(port)
	if !ok {
		return fail(fmt.Sprintf("port %q is not a number from 1 to 65535", port))
	}
	return user, host, n, nil
}

// portNumber returns the number of a port, from 1 to 65535, without leading zeros.
func portNumber(s string) (number string, ok bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return strconv.FormatUint(n, 10), err == nil && n > 0
}

// HasPort reports whether an address that SplitServer took has a port written.
func HasPort(address string) bool {
	_, _, err := net.SplitHostPort(address[strings.LastIndexByte(address, '@')+1:])
	return err == nil
}
