package hostport

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostname"
)

// Side is an end of a tunnel.
type Side int

const (
	Here Side = iota
	Bastion
)

// defaultSocketMode is Caddy's own for sockets.
const defaultSocketMode fs.FileMode = 0o200

// InheritedNetwork is the network of a socket that the process was started with, as by
// socket activation. It is Caddy's name.
const InheritedNetwork = "fd"

// ListenAddress is where a forward listens.
type ListenAddress struct {
	Network string      // tcp, tcp4, tcp6, unix or InheritedNetwork
	Address string      // host:port, with no host for all addresses; a path; or the number of a file descriptor
	Mode    fs.FileMode // of a socket here
}

// String returns the address as Caddy writes addresses, without the mode.
func (a ListenAddress) String() string {
	if a.Network == "tcp" {
		return a.Address
	}
	return a.Network + "/" + a.Address
}

// ParseListen reads "[network/][host:]port", "unix//path" or, here, "fd/number".
func ParseListen(s string, at Side) (ListenAddress, error) {
	fail := func(format string, args ...any) (ListenAddress, error) {
		return ListenAddress{}, fmt.Errorf("listen address %q: %w", s, fmt.Errorf(format, args...))
	}
	network, rest, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		network, rest = "tcp", s
	case network == "unix":
		a, err := parseSocket(rest, at)
		if err != nil {
			return fail("%w", err)
		}
		return a, nil
	case network == InheritedNetwork && at == Here:
		number, err := strconv.ParseUint(rest, 0, 31) // as Caddy reads it
		if err != nil {
			return fail("%q is not the number of a file descriptor; systemd's first is fd/3", rest)
		}
		return ListenAddress{Network: network, Address: strconv.FormatUint(number, 10)}, nil
	case network == InheritedNetwork+"gram" && at == Here:
		return fail("datagrams cannot be forwarded; write fd/<number>, and pass a stream socket")
	case at == Bastion && network != "tcp":
		return fail("network %q cannot be listened on there; write [host:]port or unix//path", network)
	case network != "tcp" && network != "tcp4" && network != "tcp6":
		return fail("network %q cannot be forwarded; write [host:]port, unix//path or fd/<number>", network)
	}

	host, port := "", rest
	if strings.Contains(rest, ":") {
		var err error
		if host, port, err = net.SplitHostPort(rest); err != nil {
			return fail("write [host:]port, with an IPv6 address in brackets")
		}
	}
	if host != "" && host != "*" {
		if err := hostname.CheckHost(host); err != nil {
			return fail("%w", err)
		}
	}
	number, ok := portNumber(port)
	isZero := port != "" && strings.Trim(port, "0") == ""
	switch {
	case strings.Contains(port, "-") && strings.Trim(port, "0123456789-") == "":
		return fail("a forward listens on one port; write one for each")
	case !ok && !isZero && host == "" && !strings.Contains(rest, ":"):
		return fail("no port; write [host:]port")
	case !ok:
		return fail("port %q is not one from 1 to 65535", port)
	}
	host = strings.ToLower(host) // so that one address is not taken for two
	switch {
	case host == "*" && at == Here:
		host = ""
	case host == "" && at == Bastion:
		host = "localhost" // as ssh -R without an address
	case host == "" && network == "tcp6":
		host = "::1"
	case host == "":
		host = "127.0.0.1"
	}
	return ListenAddress{Network: network, Address: net.JoinHostPort(host, number)}, nil
}

// parseSocket reads a socket's path; here, with permissions after it or not.
func parseSocket(s string, at Side) (ListenAddress, error) {
	a := ListenAddress{Network: "unix", Address: s, Mode: defaultSocketMode}
	if at == Bastion {
		if !strings.HasPrefix(s, "/") {
			return a, errors.New("not an absolute path on the bastion; write unix//path")
		}
		return a, nil
	}
	path, mode, ok := strings.Cut(s, "|")
	if ok {
		number, err := strconv.ParseUint(mode, 8, 9)
		if err != nil || number&0o200 == 0 {
			return a, fmt.Errorf("permissions %q are not octal, or not writable for the owner; write them as in |0220", mode)
		}
		a.Mode = fs.FileMode(number)
	}
	if path == "" {
		return a, errors.New("no path; write unix//path")
	}
	a.Address = path
	return a, nil
}

// IsLoopback reports whether only this machine's users can connect. It is false for an
// inherited socket, whose address is known once it is open.
func (a ListenAddress) IsLoopback() bool {
	if a.Network == "unix" {
		return true
	}
	host, _, _ := net.SplitHostPort(a.Address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// ParseBind reads where on the bastion a site listens: nothing for its loopback, one of
// its addresses, * for all of them, or unix//path.
func ParseBind(where string, port uint) (ListenAddress, error) {
	if path, ok := strings.CutPrefix(where, "unix/"); ok {
		if strings.Contains(path, "|") {
			return ListenAddress{}, fmt.Errorf("socket %q: the bastion sets its permissions; remove the | and set StreamLocalBindMask there", path)
		}
		return ParseListen(where, Bastion)
	}
	if strings.Contains(where, "/") {
		return ListenAddress{}, fmt.Errorf("%q is neither an address of the bastion nor unix//path", where)
	}
	return ParseListen(net.JoinHostPort(where, strconv.FormatUint(uint64(port), 10)), Bastion)
}
