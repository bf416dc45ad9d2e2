package remote

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// tcpipForward is the payload of the requests "tcpip-forward" and
// "cancel-tcpip-forward" (RFC 4254 section 7.1).
type tcpipForward struct {
	Host string
	Port uint32
}

// streamLocalForward is the payload of the requests
// "streamlocal-forward@openssh.com" and its cancel- (OpenSSH's PROTOCOL,
// section 2.4).
type streamLocalForward struct{ SocketPath string }

// address is an address on the bastion to listen on, in SSH's words. It
// is comparable: two of the same words are the same forward.
type address struct {
	// path is that of a socket; if empty, the address is host and port.
	path string
	// host is as sshd wants it: "" for all addresses, "localhost" for the
	// loopback ones of all families.
	host string
	port uint16
}

// parseAddress reads what Listen takes.
func parseAddress(network, listen string) (address, error) {
	switch network {
	case "unix":
		if listen == "" || strings.ContainsRune(listen, 0) {
			return address{}, fmt.Errorf("listen address %q is not the path of a socket on the bastion", listen)
		}
		return address{path: listen}, nil
	case "tcp":
		host, portText, err := net.SplitHostPort(listen)
		if err != nil {
			if reason, ok := errors.AsType[*net.AddrError](err); ok {
				err = errors.New(reason.Err)
			}
			return address{}, fmt.Errorf("listen address %q is not <host>:<port>: %w", listen, err)
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || port == 0 {
			return address{}, fmt.Errorf("listen address %q: port must be a number from 1 to 65535", listen)
		}
		if host == "*" {
			host = ""
		}
		return address{host: strings.ToLower(host), port: uint16(port)}, nil
	default:
		return address{}, fmt.Errorf("listen network %q is neither tcp nor unix", network)
	}
}

// request returns the global request that asks for the forward.
func (a address) request() (name string, payload []byte) {
	if a.path != "" {
		return "streamlocal-forward@openssh.com", ssh.Marshal(streamLocalForward{a.path})
	}
	return "tcpip-forward", ssh.Marshal(tcpipForward{a.host, uint32(a.port)})
}

// cancel returns the global request that takes it back.
func (a address) cancel() (name string, payload []byte) {
	name, payload = a.request()
	return "cancel-" + name, payload
}

// addr is the address as a net.Addr: a *net.TCPAddr or *net.UnixAddr, unless
// the host is a name other than localhost.
func (a address) addr() net.Addr {
	switch {
	case a.path != "":
		return &net.UnixAddr{Net: "unix", Name: a.path}
	case a.host == "":
		return &net.TCPAddr{Port: int(a.port)}
	case a.host == "localhost":
		return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(a.port)}
	default:
		return hostAddr(a.host, uint32(a.port))
	}
}

// addrFor is the address as the local one of a connection from a peer. That of
// localhost is of the peer's family.
func (a address) addrFor(peer net.Addr) net.Addr {
	if tcp, ok := peer.(*net.TCPAddr); ok && a.host == "localhost" && tcp.IP.To4() == nil {
		return &net.TCPAddr{IP: net.IPv6loopback, Port: int(a.port)}
	}
	return a.addr()
}

func (a address) String() string {
	if a.path != "" {
		return a.path
	}
	host := a.host
	if host == "" {
		host = "*" // as it is written; an empty one reads as loopback elsewhere
	}
	return net.JoinHostPort(host, strconv.Itoa(int(a.port)))
}

// firstFreePort is the first that a user needs no rights for, unless the bastion
// says otherwise.
const firstFreePort = 1024

// refusedHint says what it can be when the bastion refuses to listen, of which
// it never says why.
func (a address) refusedHint() string {
	if a.path != "" {
		return "socket still there from an older connection? set StreamLocalBindUnlink on the bastion; or AllowStreamLocalForwarding forbids it"
	}
	spelling := fmt.Sprintf("; PermitListen and permitlisten have to list %q", a)
	if everywhere := fmt.Sprintf("*:%d", a.port); a.String() != everywhere {
		spelling += fmt.Sprintf(", or %q: to sshd, localhost and 127.0.0.1 differ", everywhere)
	}
	if a.port < firstFreePort {
		return "only root may listen on ports below 1024, unless net.ipv4.ip_unprivileged_port_start is lower on the bastion; or another process holds the port, or AllowTcpForwarding/PermitListen/GatewayPorts forbid it" + spelling
	}
	return "port still held by an older connection? set ClientAliveInterval on the bastion; or AllowTcpForwarding/PermitListen/GatewayPorts forbid it" + spelling
}

// hostAddr is the address of a host, a *net.TCPAddr if that is an IP address. A
// bastion may have made it up, and an IPv6 zone may have any characters.
func hostAddr(host string, port uint32) net.Addr {
	if addr, err := netip.ParseAddr(host); err == nil && port <= 65535 {
		addr = addr.WithZone(printable.Text(addr.Zone()))
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, uint16(port)))
	}
	return sshconn.NameAddr(net.JoinHostPort(printable.Text(host), strconv.FormatUint(uint64(port), 10)))
}
