package permit

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// pattern is one of a List's: a socket, or a host and ports. Of the fields for
// a host one is set.
type pattern struct {
	socket      string // the path of a socket, or what comes before the *
	socketsFrom bool   // whether there is a *

	anyHost bool
	addr    netip.Addr
	prefix  netip.Prefix
	name    string // in lower case, without its final dot
	within  string // the same, with a dot in front: all names that end so
	dot     string // the final dot, if it is written

	first, last uint16 // ports
}

// parsePattern reads a pattern:
//
//	<host>:<port>
//	unix/<path>
//
// A host is a name, *.<name> for all names below it, an IP address, a network
// in CIDR notation or * for any host. IPv6 stands in brackets. A port is a
// number, a range such as 8000-8999 or * for any port. A path is absolute, and
// its last element may end in *, which stands for the rest of that element.
func parsePattern(s string) (pattern, error) {
	if name, ok := strings.CutPrefix(s, "unix/"); ok {
		return parseSocket(name)
	}
	switch {
	case strings.Contains(s, "://"):
		return pattern{}, errors.New("a URL; write host:port")
	case s == "any" || s == "*":
		return pattern{}, errors.New("no port; write *:* for any host and port, or leave the option out, which permits sockets as well")
	}
	bracketed := strings.HasPrefix(s, "[")
	host, ports, err := net.SplitHostPort(s)
	switch {
	case err != nil && !bracketed && strings.Count(s, ":") > 1:
		return pattern{}, errors.New("IPv6 stands in brackets, before the port, as in [fd00::/8]:443")
	case err != nil:
		return pattern{}, errors.New("no port; write host:port, or host:* for any port")
	case bracketed && !strings.Contains(host, ":"):
		return pattern{}, errors.New("brackets are for IPv6, as in [fd00::/8]:443")
	}
	p, err := parseHostPattern(host)
	if err != nil {
		return pattern{}, err
	}
	p.first, p.last, err = parsePorts(ports)
	return p, err
}

// parseSocket reads the path of a socket.
func parseSocket(name string) (pattern, error) {
	p := pattern{socket: name}
	p.socket, p.socketsFrom = strings.CutSuffix(name, "*")
	switch {
	case !strings.HasPrefix(name, "/"):
		return pattern{}, errors.New("not an absolute path; write unix//path")
	case strings.Contains(p.socket, "*"):
		return pattern{}, errors.New("a * stands at the end of a path, for the rest of its last element")
	case hasControl(name):
		return pattern{}, errors.New("a control character in the path")
	case path.Clean(name) != name || name == "/":
		return pattern{}, fmt.Errorf("not the plain path of a socket; write unix/%s, or what it leads to", path.Clean(name))
	}
	return p, nil
}

// parseHostPattern reads the part before the port. It takes addresses in
// their usual form only: that 10.0.1 is 10.0.0.1 is not what most would mean.
func parseHostPattern(host string) (pattern, error) {
	if host == "*" {
		return pattern{anyHost: true}, nil
	}
	if strings.Contains(host, "/") {
		return parseNetwork(host)
	}
	if addr, ok := parseAddr(host); ok {
		if addr.String() != strings.ToLower(host) && !strings.Contains(host, ":") {
			return pattern{}, fmt.Errorf("another spelling of an address; write %s", addr)
		}
		return pattern{addr: addr}, nil
	}

	suffix, below := strings.CutPrefix(host, "*.")
	name, dot := cutDot(lower(suffix))
	switch {
	case host == "":
		return pattern{}, errors.New("no host; write host:port, or *:port for any host")
	case strings.Contains(suffix, "*"):
		return pattern{}, errors.New("a * is any host, or stands for the first labels of a name, as in *.internal")
	case !isASCII(name):
		return pattern{}, errors.New("a name is written as it is in the DNS, as in xn--bcher-kva.example")
	case !isName(name):
		return pattern{}, fmt.Errorf("%q is neither a name, nor an address, nor a network such as 10.0.0.0/8", host)
	case below:
		return pattern{within: "." + name, dot: dot}, nil
	}
	return pattern{name: name, dot: dot}, nil
}

// parseNetwork reads a network in CIDR notation.
func parseNetwork(s string) (pattern, error) {
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return pattern{}, fmt.Errorf("%q is not a network; write an address and the length of its prefix, as in 10.0.0.0/8", s)
	case prefix.Addr().Is4In6():
		return pattern{}, fmt.Errorf("%q is a network of IPv4 addresses; write it as one, as in 10.0.0.0/8", s)
	case prefix != prefix.Masked():
		return pattern{}, fmt.Errorf("%q is an address within a network; write %s, or the address alone", s, prefix.Masked())
	}
	return pattern{prefix: prefix}, nil
}

// parsePorts reads a port, a range of ports or *.
func parsePorts(s string) (first, last uint16, err error) {
	if s == "*" {
		return 1, 65535, nil
	}
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	lo, errLo := strconv.ParseUint(from, 10, 16)
	hi, errHi := strconv.ParseUint(to, 10, 16)
	switch {
	case errLo != nil || errHi != nil || lo == 0 || hi == 0:
		return 0, 0, fmt.Errorf("port %q is neither a number from 1 to 65535, nor a range such as 8000-8999, nor *", s)
	case hi < lo:
		return 0, 0, fmt.Errorf("port %q is a range from the higher to the lower; write %d-%d", s, hi, lo)
	}
	return uint16(lo), uint16(hi), nil
}

// isSocket tells a socket from a host.
func (p pattern) isSocket() bool { return p.socket != "" }

// hasPort reports whether a port is among the pattern's.
func (p pattern) hasPort(port uint16) bool { return p.first <= port && port <= p.last }

// hasSocket reports whether the pattern is for a clean path.
func (p pattern) hasSocket(name string) bool {
	if !p.isSocket() {
		return false
	}
	if !p.socketsFrom {
		return name == p.socket
	}
	rest, ok := strings.CutPrefix(name, p.socket)
	return ok && rest != "" && !strings.Contains(rest, "/")
}

// host reports whether the pattern is for a host, and how to spell that.
func (p pattern) host(h host) (spelt string, ok bool) {
	switch {
	case h.addr.IsValid():
		// An address with a zone is in no network.
		return h.addr.String(), p.anyHost || p.addr == h.addr || p.prefix.Contains(h.addr)
	case p.anyHost:
		return h.text, true
	case h.name == "":
		return "", false
	case p.name != "":
		return h.name + p.dot, p.name == h.name
	case p.within != "":
		return h.name + p.dot, strings.HasSuffix(h.name, p.within)
	}
	return "", false
}
