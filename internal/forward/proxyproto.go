package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// WriteProxyHeader sends a header of the PROXY protocol, version "v1" or "v2":
// the client's address and the one that it connected to. If the client's is
// not valid it says that the connection is our own: "LOCAL" in version 2,
// "UNKNOWN" in version 1. It is bounded by the context's deadline.
func WriteProxyHeader(ctx context.Context, conn net.Conn, version string, client, connectedTo netip.AddrPort) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetWriteDeadline(deadline); err != nil {
			return fmt.Errorf("sending PROXY protocol header: %w", err)
		}
	}
	if _, err := proxyHeader(version, client, connectedTo).WriteTo(conn); err != nil {
		return fmt.Errorf("sending PROXY protocol header: %w", err)
	}
	return conn.SetWriteDeadline(time.Time{})
}

func proxyHeader(version string, client, connectedTo netip.AddrPort) *proxyproto.Header {
	number := byte(2)
	if version == "v1" {
		number = 1
	}
	if !client.IsValid() {
		return proxyproto.HeaderProxyFromAddrs(number, nil, nil)
	}
	source, destination := unmap(client), unmap(connectedTo)
	if !destination.IsValid() || destination.Addr().Is4() != source.Addr().Is4() {
		// It has to be there and of the same family, known or not.
		unspecified := netip.IPv4Unspecified()
		if source.Addr().Is6() {
			unspecified = netip.IPv6Unspecified()
		}
		destination = netip.AddrPortFrom(unspecified, 0)
	}
	return proxyproto.HeaderProxyFromAddrs(number, net.TCPAddrFromAddrPort(source), net.TCPAddrFromAddrPort(destination))
}

// AddrPort returns an address of IP; of others, one that is not valid.
func AddrPort(addr net.Addr) netip.AddrPort {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return unmap(tcp.AddrPort())
	}
	return netip.AddrPort{}
}

// unmap returns IPv4 addresses as such, even where they came in IPv6.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
