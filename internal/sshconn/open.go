package sshconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

// ErrLost says that the connection ended before the server answered. Nothing was sent
// to an open's target, so the open may be tried on another connection.
var ErrLost = errors.New("connection to the bastion lost")

// ErrNoAnswer says that ctx ended before the server answered.
var ErrNoAnswer = errors.New("no answer")

// defaultOriginator is sent where no peer is forwarded, as for the pooled
// connections of an HTTP transport. OpenSSH sends the same for ssh -W.
var defaultOriginator = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 65535)

// directTCPIP is the payload of a "direct-tcpip" open (RFC 4254 section 7.2).
type directTCPIP struct {
	Host           string
	Port           uint32
	OriginatorHost string
	OriginatorPort uint32
}

// directStreamLocal is the payload of a "direct-streamlocal@openssh.com" open
// (OpenSSH's PROTOCOL, section 2.4).
type directStreamLocal struct {
	SocketPath string
	Reserved0  string
	Reserved1  uint32
}

// Request asks for a channel to a target.
type Request struct {
	// Address is the target's "host:port", or the path of a socket.
	Address string
	// Name is the name that the server has to look up, or "".
	Name          string
	chanType      string
	payload       []byte
	local, remote net.Addr
}

// NewRequest returns the request for a channel to network "tcp" and "host:port"
// (direct-tcpip, RFC 4254 section 7.2), or "unix" and the path of a socket
// (direct-streamlocal@openssh.com, OpenSSH's PROTOCOL section 2.4), on behalf of a
// peer; if that is not valid, of a constant one. An address that is none is an error.
func NewRequest(network, address string, originator netip.AddrPort) (*Request, error) {
	if !originator.IsValid() {
		originator = defaultOriginator
	}
	from := netip.AddrPortFrom(originator.Addr().Unmap(), originator.Port())
	r := &Request{Address: address, local: net.TCPAddrFromAddrPort(from)}
	switch network {
	case "unix":
		r.chanType = "direct-streamlocal@openssh.com"
		r.payload = ssh.Marshal(directStreamLocal{SocketPath: address})
		r.remote = &net.UnixAddr{Net: "unix", Name: address}
	case "tcp", "tcp4", "tcp6":
		host, portText, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", address, err)
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("target %q: port must be a number from 1 to 65535", address)
		}
		r.chanType = "direct-tcpip"
		r.payload = ssh.Marshal(directTCPIP{host, uint32(port), from.Addr().WithZone("").String(), uint32(from.Port())})
		r.remote, r.Name = NameAddr(address), strings.ToLower(host)
		if addr, err := netip.ParseAddr(host); err == nil {
			r.Name = ""
			r.remote = net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, uint16(port)))
		}
	default:
		return nil, fmt.Errorf("target network %q is neither tcp nor unix", network)
	}
	return r, nil
}

// RemoteAddr returns what a channel's RemoteAddr is.
func (r *Request) RemoteAddr() net.Addr { return r.remote }

// NameAddr is the address of a target whose name only the server resolves.
type NameAddr string

// Network returns "tcp".
func (NameAddr) Network() string { return "tcp" }

// String returns the "host:port".
func (a NameAddr) String() string { return string(a) }

// Open opens a channel. Errors are ErrLost, ErrNoAnswer, or a *failure.OpenError. If
// the connection stalls, an open that may move fails with ErrStalled, unless it is the
// one whose lookup is the reason.
func (c *Client) Open(ctx context.Context, r *Request, mayMove bool) (*Conn, error) {
	o := &opening{answer: make(chan openAnswer, 1)}
	var stalled <-chan struct{}
	if mayMove {
		stalled = c.stallBegun()
	}
	go c.runChannel(o, r)
	var gaveUp error
	for gaveUp == nil {
		select {
		case a := <-o.answer:
			return a.conn, a.err
		case <-c.Done():
			gaveUp = ErrLost
		case <-stalled:
			stalled = nil
			if !c.lookups.isCulprit(o) {
				gaveUp = ErrStalled
			}
		case <-ctx.Done():
			gaveUp = ErrNoAnswer
		}
	}
	if o.abandon() {
		return nil, gaveUp
	}
	a := <-o.answer // it came in the same moment
	return a.conn, a.err
}

// opening is the hand-over of an open channel from runChannel to Open.
type opening struct {
	answer chan openAnswer
	// settled says that the answer was delivered or given up.
	settled atomic.Bool
}

type openAnswer struct {
	conn *Conn
	err  error
}

// deliver hands the answer over, unless nobody waits for it any more.
func (o *opening) deliver(a openAnswer) bool {
	if !o.abandon() {
		return false
	}
	o.answer <- a // which has room for it
	return true
}

// abandon gives up waiting, unless the answer has been delivered.
func (o *opening) abandon() bool { return !o.settled.Swap(true) }

// runChannel opens a channel and serves it. An open that succeeds after it was
// given up is closed: SSH has no message to take an open back. It returns when
// the channel was refused, or has ended, or as serve does.
func (c *Client) runChannel(o *opening, r *Request) {
	if c.IsDone() {
		c.owner.Answered(r.Address)
		o.deliver(openAnswer{err: ErrLost})
		return
	}
	c.lookups.begin(o, r.Name, c.transport.Now())
	c.unanswered.Add(1)
	c.beginWrite()
	ch, requests, err := c.conn.OpenChannel(r.chanType, r.payload)
	c.endWrite()
	c.unanswered.Add(-1)
	if took := c.lookups.end(o, c.transport.Now()); took > 0 && took < StallAfter {
		c.owner.LookedUp(r.Name)
	}
	if err != nil {
		c.owner.Answered(r.Address)
		o.deliver(openAnswer{err: c.openError(r, err)})
		return
	}
	conn := newConn(c, r.local, r.remote)
	conn.setChannel(ch, requests, nil)
	if o.deliver(openAnswer{conn: conn}) {
		c.owner.Answered(r.Address)
		c.serve(conn)
		return
	}
	// It counts as an unanswered open until the server has closed it as well: one
	// that closes none would make us keep what it has sent on each.
	c.owner.AnsweredLate(r.Address)
	_ = conn.Close()
	answerRequests(requests)
	c.traffic.end(conn, c.about)
	c.owner.Answered(r.Address)
}

// serve looks after an open channel. It returns when the channel has ended and
// been read to its end or closed: until then the channel counts, so that no
// drain cuts off what has arrived.
func (c *Client) serve(conn *Conn) {
	c.owner.Opened(conn)
	if conn.hasChannel() {
		answerRequests(conn.requests)
	}
	conn.refuse()
	select {
	case <-conn.ended:
	case <-conn.closed:
	}
	c.traffic.end(conn, c.about)
	c.owner.Closed(conn)
}
