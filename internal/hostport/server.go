// Package hostport reads addresses as people write them: of SSH servers, of targets, to
// listen on, and as behind ssh's -L, -R and -D. It replaces no placeholders, resolves no
// names and opens nothing. All packages above tunnel may import it.
package hostport

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostname"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// Server is an SSH server as it was written. What was not is "".
type Server struct{ User, Host, Port string }

// Address is "host:port".
func (s Server) Address() string { return net.JoinHostPort(s.Host, cmp.Or(s.Port, "22")) }

// ParseServer reads "[user@]host[:port]". A user may have an @ in it, a host may not.
// IPv6 addresses stand in brackets, and are returned without.
func ParseServer(s string) (Server, error) {
	fail := func(problem string) (Server, error) {
		return Server{}, fmt.Errorf("%s: %s", redact.Quote(s), problem)
	}
	_, bare, isURL := strings.Cut(s, "://")
	if !isURL {
		bare = s
	}
	if i := strings.LastIndexByte(bare, '@'); i >= 0 && strings.Contains(bare[:i], ":") {
		// Not shown: it may be a secret, and would be in every log line.
		return Server{}, errors.New("a password in the address; write [user@]host[:port], and the option password {env.NAME}")
	}
	if isURL {
		return fail("a URL; write [user@]host[:port]")
	}

	var server Server
	rest := s
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		server.User, rest = s[:i], s[i+1:]
		if err := hostname.CheckUser(server.User); err != nil {
			return fail(err.Error())
		}
	}
	var port string
	var hasPort bool
	if inner, ok := strings.CutPrefix(rest, "["); ok {
		server.Host, rest, ok = strings.Cut(inner, "]")
		if ip, err := netip.ParseAddr(server.Host); !ok || err != nil || !ip.Is6() {
			return fail("brackets are for an IPv6 address, as in [2001:db8::1]:22")
		}
		if port, hasPort = strings.CutPrefix(rest, ":"); !hasPort && rest != "" {
			return fail("expected :port after the bracket")
		}
	} else {
		server.Host, port, hasPort = strings.Cut(rest, ":")
		if strings.Contains(port, ":") {
			return fail("put an IPv6 address in brackets, as in [2001:db8::1]:22")
		}
	}
	if err := hostname.CheckHost(server.Host); err != nil {
		return fail(err.Error())
	}
	if hasPort {
		number, ok := portNumber(port)
		if !ok {
			return fail(fmt.Sprintf("port %q is not a number from 1 to 65535", port))
		}
		server.Port = number
	}
	return server, nil
}

// portNumber returns the number of a port, from 1 to 65535, without leading zeros.
func portNumber(s string) (number string, ok bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return strconv.FormatUint(n, 10), err == nil && n > 0
}
