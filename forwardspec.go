package sshtunnel

// forwardspec.go reads what ssh takes behind -L, -R and -D, as ssh does.

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
)

// forwardKind is one of ssh's three kinds of forwards.
type forwardKind byte

const (
	forwardL forwardKind = 'L'
	forwardR forwardKind = 'R'
	forwardD forwardKind = 'D'
)

// forwardSpec is what ssh takes behind -L, -R or -D.
type forwardSpec struct {
	kind forwardKind
	text string // as it was written

	// listen is where connections come in: here, or on the bastion for a remote
	// forward.
	listen endpoint
	// noBind tells that no bind address is written.
	noBind bool
	// target is where they go: as the bastion sees it, or from here for a remote
	// forward. A SOCKS proxy has none: its clients name it.
	target endpoint
}

// isProxy tells whether the forward is a SOCKS proxy.
func (s forwardSpec) isProxy() bool { return s.target == endpoint{} }

// endpoint is a TCP port or the socket at path.
type endpoint struct {
	// host is "" for all interfaces, and noHost where none was written.
	host string
	port string
	path string
}

// noHost stands for a bind address that was not written, which is not the same
// as an empty one.
const noHost = "localhost"

// network and address are in net.Dial's words.
func (e endpoint) network() string {
	if e.path != "" {
		return "unix"
	}
	return "tcp"
}

func (e endpoint) address() string {
	if e.path != "" {
		return e.path
	}
	return net.JoinHostPort(e.host, e.port)
}

// String is for people: "*:80" is what a person writes for all interfaces.
func (e endpoint) String() string {
	switch {
	case e.path != "":
		return e.path
	case e.host == "":
		return "*:" + e.port
	default:
		return e.address()
	}
}

// forwardGrammar is what is written behind each of them.
var forwardGrammar = map[forwardKind]string{
	forwardL: "[bind:]port:host:hostport, [bind:]port:/remote/socket, /local/socket:host:hostport or /local/socket:/remote/socket",
	forwardR: "[bind:]port:host:hostport, [bind:]port:/local/socket, /remote/socket:host:hostport, /remote/socket:/local/socket or [bind:]port alone",
	forwardD: "[bind:]port",
}

// parseForward reads what stands behind -L, -R or -D:
//
//	-L [bind:]port:host:hostport    -L [bind:]port:/socket
//	-L /socket:host:hostport        -L /socket:/socket
//	-D [bind:]port
//
// -R is written as -L or, for a SOCKS proxy on the bastion, as -D. IPv6 addresses stand in brackets, and so may anything
// with a colon in it. A bind address that is empty, or "*", is all interfaces;
// none is loopback. Ports may be the names of services.
func parseForward(kind forwardKind, s string) (forwardSpec, error) {
	spec := forwardSpec{kind: kind, text: s}
	fields, err := sshconfig.SplitForward(s)
	if err == nil {
		spec.listen, spec.target, err = kind.endpoints(fields)
		spec.noBind = spec.listen.host == noHost && fields[0] != noHost
	}
	if err != nil {
		return spec, fmt.Errorf("forward %q: %w", s, err)
	}
	return spec, nil
}

// endpoints reads the fields: the target's stand at the end, and the others
// are the listener's.
func (kind forwardKind) endpoints(fields []sshconfig.ForwardField) (listen, target endpoint, err error) {
	n := len(fields)
	switch last := fields[n-1]; {
	case kind == forwardD, kind == forwardR && (n == 1 || n == 2 && !last.IsPath()):
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

	switch n {
	case 1:
		listen, err = parseEndpoint(noHost, fields[0], kind != forwardR)
	case 2:
		listen, err = parseEndpoint(string(fields[0]), fields[1], kind != forwardR)
	}
	if err != nil {
		return listen, target, err
	}
	if listen.host == "*" {
		listen.host = ""
	}

	switch rest := fields[n:]; len(rest) {
	case 1:
		target, err = parseEndpoint("", rest[0], kind == forwardR)
	case 2:
		if rest[0] == "" {
			return listen, target, errors.New(`no host to forward to; for the machine that connects to it write "localhost"`)
		}
		target, err = parseEndpoint(string(rest[0]), rest[1], kind == forwardR)
	}
	return listen, target, err
}

// parseEndpoint reads a path, or the port at a host. here tells that it is one of
// this machine.
func parseEndpoint(host string, f sshconfig.ForwardField, here bool) (endpoint, error) {
	switch {
	case f.IsPath() && f[0] == '/':
		return endpoint{path: string(f)}, nil
	case f.IsPath() && here:
		path, err := filepath.Abs(string(f))
		return endpoint{path: path}, err
	case f.IsPath():
		// It would be relative to a directory that the bastion chooses.
		return endpoint{}, fmt.Errorf("%q is not the absolute path of a socket on the bastion", string(f))
	}
	port, err := parsePort(string(f))
	return endpoint{host: host, port: port}, err
}

// parsePort reads a port's number or the name of a service, as ssh does.
func parsePort(s string) (string, error) {
	n, err := net.LookupPort("tcp", s)
	if err != nil || n == 0 || s == "" {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", s)
	}
	return strconv.Itoa(n), nil
}
