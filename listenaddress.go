package sshtunnel

// listenaddress.go reads the addresses that forwards listen on.

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// side is an end of a tunnel.
type side int

const (
	here side = iota
	onBastion
)

// defaultSocketMode is Caddy's own for sockets.
const defaultSocketMode fs.FileMode = 0o200

// listenAddress is where a forward listens.
type listenAddress struct {
	network string      // tcp, tcp4, tcp6 or unix
	address string      // host:port, with no host for all addresses; or a path
	mode    fs.FileMode // of a socket here
}

// String returns the address as Caddy writes addresses, without the mode.
func (a listenAddress) String() string {
	if a.network == "tcp" {
		return a.address
	}
	return a.network + "/" + a.address
}

// parseListen reads "[network/][host:]port" or "unix//path".
func parseListen(s string, at side) (listenAddress, error) {
	fail := func(format string, args ...any) (listenAddress, error) {
		return listenAddress{}, fmt.Errorf("listen address %q: %w", s, fmt.Errorf(format, args...))
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
	case at == onBastion && network != "tcp":
		return fail("network %q cannot be listened on there; write [host:]port or unix//path", network)
	case network != "tcp" && network != "tcp4" && network != "tcp6":
		return fail("network %q cannot be forwarded; write [host:]port or unix//path", network)
	}

	host, port := "", rest
	if strings.Contains(rest, ":") {
		var err error
		if host, port, err = net.SplitHostPort(rest); err != nil {
			return fail("write [host:]port, with an IPv6 address in brackets")
		}
	}
	if host != "" && host != "*" {
		if err := tunnel.CheckHost(host); err != nil {
			return fail("%w", err)
		}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	switch {
	case strings.Contains(port, "-") && strings.Trim(port, "0123456789-") == "":
		return fail("a forward listens on one port; write one for each")
	case err != nil && host == "" && !strings.Contains(rest, ":"):
		return fail("no port; write [host:]port")
	case err != nil || number == 0:
		return fail("port %q is not one from 1 to 65535", port)
	}
	host = strings.ToLower(host) // so that one address is not taken for two
	switch {
	case host == "*" && at == here:
		host = ""
	case host == "" && at == onBastion:
		host = "localhost" // as ssh -R without an address
	case host == "" && network == "tcp6":
		host = "::1"
	case host == "":
		host = "127.0.0.1"
	}
	return listenAddress{network: network, address: net.JoinHostPort(host, strconv.FormatUint(number, 10))}, nil
}

// parseSocket reads a socket's path; here, with permissions after it or not.
func parseSocket(s string, at side) (listenAddress, error) {
	a := listenAddress{network: "unix", address: s, mode: defaultSocketMode}
	if at == onBastion {
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
		a.mode = fs.FileMode(number)
	}
	if path == "" {
		return a, errors.New("no path; write unix//path")
	}
	a.address = path
	return a, nil
}

// isLoopback tells whether only this machine's users can connect.
func (a listenAddress) isLoopback() bool {
	if a.network == "unix" {
		return true
	}
	host, _, _ := net.SplitHostPort(a.address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
