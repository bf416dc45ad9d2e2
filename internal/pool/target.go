package pool

import (
	"net/netip"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// Class tells what a channel is for. Streams and requests live on different
// connections where a tunnel has more than one.
type Class int

const (
	// Request is a channel of pooled, short requests.
	Request Class = iota
	// Stream is a channel that lives long: an upgrade, a raw connection, a jump.
	Stream
)

// Target says where a channel leads.
type Target struct {
	// Network is "tcp" (a direct-tcpip channel, RFC 4254 section 7.2) or "unix"
	// (direct-streamlocal@openssh.com, OpenSSH's PROTOCOL section 2.4).
	Network string

	// Address is "host:port", the name being resolved by the bastion, or the
	// path of a socket on the bastion.
	Address string

	// Originator is the peer whose connection is forwarded. If it is not
	// valid, a constant one is sent.
	Originator netip.AddrPort

	Class Class

	// ByClient says that a client chose the host, and not the configuration. Such a
	// name may take the bastion long to look up: it is looked up on a connection apart.
	ByClient bool

	// Unwanted is closed when nobody waits for the channel any more. A dial that
	// has not had its turn by then gives it up. Default: nil.
	Unwanted <-chan struct{}

	// Patient says that the dial waits for one more attempt to connect, instead of
	// failing with the outcome of the last: a jump is such an attempt's first step.
	Patient bool
}

// Conn is a channel as a net.Conn.
type Conn = sshconn.Conn

// openRequest is a dial on its way.
type openRequest struct {
	*sshconn.Request
	target Target
}

// newOpenRequest checks the target and puts it into SSH's words.
func newOpenRequest(t Target) (*openRequest, error) {
	r, err := sshconn.NewRequest(t.Network, t.Address, t.Originator)
	if err != nil {
		return nil, err
	}
	return &openRequest{r, t}, nil
}
