// Package permit decides which targets a tunnel may be asked for. It is about
// what the target is called: nothing is looked up.
//
//	permit.go    List: patterns, and what they permit
//	pattern.go   reading one pattern
//	openssh.go   the patterns as sshd(8) takes them
//	host.go      hosts: addresses however they are spelt, and names
//
// A List is what ssh_config(5) has as PermitRemoteOpen, and more. A name
// permits itself, whatever its addresses are; an address or a network of
// addresses permits targets that are written as addresses, and no name that
// has one.
package permit

import (
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
)

// List is a list of patterns, of which one must match. One without patterns
// permits every target.
type List struct {
	patterns []pattern
	texts    []string // as they were written
}

// Parse reads patterns. See parsePattern for what they are.
func Parse(patterns []string) (List, error) {
	var l List
	for _, s := range patterns {
		p, err := parsePattern(s)
		if err != nil {
			return List{}, fmt.Errorf("%q: %w", s, err)
		}
		l.patterns, l.texts = append(l.patterns, p), append(l.texts, s)
	}
	return l, nil
}

// Restricts reports whether there are patterns.
func (l List) Restricts() bool { return len(l.patterns) > 0 }

// Permit reports whether a target is permitted, and how to dial it: address is
// then as the pattern has it, so that whoever reads it next finds in it what
// was compared. An address is in its usual form, and a name has its final dot
// if the pattern has one. The network is that of net.Dial, the address
// "host:port" or the path of a socket. Where there are no patterns, the address
// is returned as it is.
func (l List) Permit(network, address string) (dial string, ok bool) {
	if !l.Restricts() {
		return address, true
	}
	if network == "unix" {
		return l.permitSocket(address)
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return "", false
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return "", false
	}
	asked, ok := parseHost(host)
	if !ok {
		return "", false
	}
	for _, p := range l.patterns {
		if p.isSocket() || !p.hasPort(uint16(port)) {
			continue
		}
		if host, ok := p.host(asked); ok {
			return net.JoinHostPort(host, strconv.FormatUint(port, 10)), true
		}
	}
	return "", false
}

// permitSocket is Permit for the path of a socket.
func (l List) permitSocket(name string) (dial string, ok bool) {
	if !strings.HasPrefix(name, "/") || hasControl(name) {
		return "", false
	}
	// The path that is compared is the one that is dialed, with no ".." that a
	// link could lead elsewhere.
	name = path.Clean(name)
	for _, p := range l.patterns {
		if p.hasSocket(name) {
			return name, true
		}
	}
	return "", false
}

// DeniedError is the error for a target that is not permitted.
type DeniedError struct {
	Tunnel string
	// Target is written as a pattern would be: "host:port" or "unix//path".
	Target string
}

// Deny returns the error for a target.
func Deny(tunnel, network, address string) *DeniedError {
	if network == "unix" {
		address = "unix/" + address
	}
	return &DeniedError{Tunnel: tunnel, Target: address}
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("tunnel %q: target %q is not permitted by permit_open", e.Tunnel, e.Target)
}
