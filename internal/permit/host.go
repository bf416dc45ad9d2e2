package permit

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// host is the host of a target. If it is neither an address nor a name, as a
// resolver would have them, only a pattern for any host matches.
type host struct {
	text string     // as it was asked for
	addr netip.Addr // without the IPv6 form of an IPv4 address
	name string     // in lower case, without its final dot
}

// parseHost reads a host. It refuses what is none: whoever reads it next, such as
// a proxy, might take a part of "a/b", "a@b" or "a:22" for the host.
func parseHost(s string) (h host, ok bool) {
	if s == "" || hasControl(s) {
		return host{}, false
	}
	h.text = s
	if addr, ok := parseAddr(s); ok {
		h.addr = addr
		return h, true
	}
	if strings.ContainsAny(s, " !\"#$%&'()*+,/:;<=>?@[\\]^`{|}~") {
		return host{}, false
	}
	name, _ := cutDot(lower(s))
	if isName(name) {
		h.name = name
	}
	return h, true
}

// parseAddr reads an address in any spelling that a bastion's getaddrinfo(3)
// takes for one: 2130706433, 0x7f.1, 017700000001 and ::ffff:127.0.0.1 are
// all 127.0.0.1.
func parseAddr(s string) (netip.Addr, bool) {
	if strings.Contains(s, ":") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Is4In6() && addr.Zone() != "" {
			return netip.Addr{}, false
		}
		return addr.Unmap(), true
	}
	return parseIPv4(s)
}

// parseIPv4 reads what inet_aton(3) does: one to four numbers with dots between
// them, decimal, octal after a 0 or hexadecimal after 0x. The last one fills
// what the others leave of the address.
func parseIPv4(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var addr uint64
	for i, part := range parts {
		n, ok := parseNumber(part)
		size := 8 // bits
		if i == len(parts)-1 {
			size = 32 - 8*i
		}
		if !ok || n >= 1<<size {
			return netip.Addr{}, false
		}
		addr = addr<<size | n
	}
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], uint32(addr))
	return netip.AddrFrom4(bytes), true
}

// parseNumber reads a number as strtoul(3) does, but for signs and spaces.
func parseNumber(s string) (uint64, bool) {
	base := 10
	if hex, ok := strings.CutPrefix(lower(s), "0x"); ok {
		s, base = hex, 16
	} else if len(s) > 1 && s[0] == '0' {
		base = 8
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}

// isName reports whether a lower-case name without its final dot is one that the
// DNS or a hosts file may have. One that ends in a number is none: it would be
// an address if it were a right one.
func isName(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	_, isNumber := parseNumber(labels[len(labels)-1])
	return !isNumber && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// lower is strings.ToLower for ASCII alone, as the DNS has it. There is a K
// elsewhere in Unicode whose lower case is an ASCII k.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}

// cutDot returns a name without its final dot, and that.
func cutDot(name string) (without, dot string) {
	if without, ok := strings.CutSuffix(name, "."); ok {
		return without, "."
	}
	return name, ""
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7f })
}

// hasControl reports whether there are control characters in s: a NUL may be the
// end of it to who reads it next.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
