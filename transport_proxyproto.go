package sshtunnel

// transport_proxyproto.go contains the sending side of the PROXY protocol.

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// writeProxyHeader tells the upstream who the client is. Without one, as in
// an active health check, it says that the connection is our own: "LOCAL" in
// version 2, "UNKNOWN" in version 1.
func writeProxyHeader(ctx context.Context, conn net.Conn, version string, client netip.AddrPort) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := proxyHeader(version, client).WriteTo(conn); err != nil {
		return fmt.Errorf("sending PROXY protocol header: %w", err)
	}
	return conn.SetWriteDeadline(time.Time{})
}

func proxyHeader(version string, client netip.AddrPort) *proxyproto.Header {
	number := byte(2)
	if version == "v1" {
		number = 1
	}
	if !client.IsValid() {
		return proxyproto.HeaderProxyFromAddrs(number, nil, nil)
	}
	ip := client.Addr().Unmap()
	source := net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, client.Port()))
	// Which of our addresses the client came to is not known here. It has to
	// be of the same family.
	destination := &net.TCPAddr{IP: net.IPv4zero}
	if ip.Is6() {
		destination.IP = net.IPv6zero
	}
	return proxyproto.HeaderProxyFromAddrs(number, source, destination)
}
