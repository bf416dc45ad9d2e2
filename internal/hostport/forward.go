package hostport

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
)

// ForwardKind is one of ssh's three kinds of forwards.
type ForwardKind byte

const (
	Local   ForwardKind = 'L'
	Remote  ForwardKind = 'R'
	Dynamic ForwardKind = 'D'
)

// Forward is what ssh takes behind -L, -R or -D.
type Forward struct {
	Kind ForwardKind
	Text string // as it was written

	// Listen is where connections come in: here, or on the bastion for a remote
	// forward.
	Listen Endpoint
	// NoBind says that no bind address is written.
	NoBind bool
	// Target is where they go: as the bastion sees it, or from here for a remote
	// forward. A SOCKS proxy has none: its clients name it.
	Target Endpoint
}

// IsProxy reports whether the forward is a SOCKS proxy.
func (s Forward) IsProxy() bool { return s.Target == Endpoint{} }

// Endpoint is a TCP port or the socket at path.
type Endpoint struct {
	// Host is "" for all interfaces, and NoHost where none was written.
	Host string
	Port string
	Path string
}

// NoHost stands for a bind address that was not written, which is not the same
// as an empty one.
const NoHost = "localhost"

// Network is one of net.Dial's.
func (e Endpoint) Network() string {
	if e.Path != "" {
		return "unix"
	}
	return "tcp"
}

// Address is one of net.Dial's.
func (e Endpoint) Address() string {
	if e.Path != "" {
		return e.Path
	}
	return net.JoinHostPort(e.Host, e.Port)
}

// String is for people: "*:80" is what a person writes for all interfaces.
func (e Endpoint) String() string {
	switch {
	case e.Path != "":
		return e.Path
	case e.Host == "":
		return "*:" + e.Port
	default:
		return e.Address()
	}
}

// forwardGrammar is what is written behind each of them.
var forwardGrammar = map[ForwardKind]string{
	Local:   "[bind:]port:host:hostport, [bind:]port:/remote/socket, /local/socket:host:hostport or /local/socket:/remote/socket",
	Remote:  "[bind:]port:host:hostport, [bind:]port:/local/socket, /remote/socket:host:hostport, /remote/socket:/local/socket or [bind:]port alone",
	Dynamic: "[bind:]port",
}

// ParseForward reads what is written behind -L, -R or -D:
//
//	-L [bind:]port:host:hostport    -L [bind:]port:/socket
//	-L /socket:host:hostport        -L /socket:/socket
//	-D [bind:]port
//
// -R is written as -L or, for a SOCKS proxy on the bastion, as -D. IPv6 addresses stand in brackets, and so may anything
// with a colon in it. A bind address that is empty, or "*", is all interfaces;
// none is loopback. Ports may be the names of services.
func ParseForward(kind ForwardKind, s string) (Forward, error) {
	spec := Forward{Kind: kind, Text: s}
	fields, err := sshconfig.SplitForward(s)
	if err == nil {
		spec.Listen, spec.Target, err = kind.endpoints(fields)
		spec.NoBind = spec.Listen.Host == NoHost && fields[0] != NoHost
	}
	if err != nil {
		return spec, fmt.Errorf("forward %q: %w", s, err)
	}
	return spec, nil
}

// endpoints reads the fields: the target's stand at the end, and the others
// are the listener's.
func (kind ForwardKind) endpoints(fields []sshconfig.ForwardField) (listen, target Endpoint, err error) {
	n := len(fields)
	switch last := fields[n-1]; {
	case kind == Dynamic, kind == Remote && (n == 1 || n == 2 && !last.IsPath()):
	case last.IsPath():
		n--
	default:
		n -= 2
	}
	switch {
	case n > 2:
		return listen, target, errors.New("too many colons; put IPv6 addresses in brackets, as in [::1]:8080:[2001:db8::1]:80")
	case n < 1 || n == 2 && (fields[0].IsPath() || fields[1].IsPath()):
		return listen, target, fmt.Errorf("write %s", forwardGrammar[kind])
	}

	if port := string(fields[n-1]); kind == Remote && port != "" && strings.Trim(port, "0") == "" {
		return listen, target, errors.New("port 0, which lets the SSH server choose one, is not supported; write a port, as in 9000:localhost:3000")
	}
	switch n {
	case 1:
		listen, err = parseEndpoint(NoHost, fields[0], kind != Remote)
	case 2:
		listen, err = parseEndpoint(string(fields[0]), fields[1], kind != Remote)
	}
	if err != nil {
		return listen, target, err
	}
	if listen.Host == "*" {
		listen.Host = ""
	}

	switch rest := fields[n:]; len(rest) {
	case 1:
		target, err = parseEndpoint("", rest[0], kind == Remote)
	case 2:
		if rest[0] == "" {
			return listen, target, errors.New(`no host to forward to; for the machine that connects to it write "localhost"`)
		}
		target, err = parseEndpoint(string(rest[0]), rest[1], kind == Remote)
	}
	return listen, target, err
}

// parseEndpoint reads a path, or the port at a host. here says that it is one of
// this machine.
func parseEndpoint(host string, f sshconfig.ForwardField, here bool) (Endpoint, error) {
	switch {
	case f.IsPath() && f[0] == '/':
		return Endpoint{Path: string(f)}, nil
	case f.IsPath() && here:
		path, err := filepath.Abs(string(f))
		return Endpoint{Path: path}, err
	case f.IsPath():
		// It would be relative to a directory that the bastion chooses.
		return Endpoint{}, fmt.Errorf("%q is not the absolute path of a socket on the bastion", string(f))
	}
	port, err := ParsePort(string(f))
	return Endpoint{Host: host, Port: port}, err
}

// ParsePort reads a port's number or the name of a service, as ssh does.
func ParsePort(s string) (string, error) {
	n, err := net.LookupPort("tcp", s)
	if err != nil || n == 0 || s == "" {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", s)
	}
	return strconv.Itoa(n), nil
}
