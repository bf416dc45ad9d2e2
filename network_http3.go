package sshtunnel

// network_http3.go contains what stands where Caddy expects UDP. It asks for
// HTTP/3 wherever there is TLS, and refuses a configuration for a network that
// has none.

import (
	"context"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// networkHTTP3 is the network that stands for ssh_tunnel's UDP, which SSH does
// not forward.
const networkHTTP3 = "ssh_tunnel_no_http3"

func init() {
	caddy.RegisterNetwork(networkHTTP3, listenNoPackets)
	caddyhttp.RegisterNetworkHTTP3(networkName, networkHTTP3)
}

// listenNoPackets is the listener function of the network.
func listenNoPackets(context.Context, string, string, string, uint, net.ListenConfig) (any, error) {
	blocked, _ := net.Pipe()
	return noPackets{blocked}, nil
}

// noPackets is a packet connection on which nothing ever comes. Reads wait
// until it is closed or their deadline, as those of a pipe do whose other end
// is never written to.
type noPackets struct{ net.Conn }

// ReadFrom implements net.PacketConn.
func (c noPackets) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)
	return n, c.LocalAddr(), err
}

// WriteTo implements net.PacketConn. What is written is lost.
func (c noPackets) WriteTo(p []byte, _ net.Addr) (int, error) { return len(p), nil }

// LocalAddr implements net.PacketConn. With port 0 no Alt-Svc header offers it.
func (c noPackets) LocalAddr() net.Addr { return &net.UDPAddr{} }

// SetReadBuffer is there because QUIC warns of a connection without.
func (c noPackets) SetReadBuffer(int) error { return nil }

// SetWriteBuffer is there because QUIC warns of a connection without.
func (c noPackets) SetWriteBuffer(int) error { return nil }

// Interface guards
var _ net.PacketConn = noPackets{}
