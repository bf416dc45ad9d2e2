package tunnel

import (
	"net"
	"slices"
)

// Listener accepts the connections to an address on the bastion: a remote
// forward, as of ssh -R. It implements net.Listener.
type Listener struct {
	forward *forward
	handle  *Handle
	// closed is guarded by pool.mu.
	closed bool
}

// Listen returns a listener for an address on the bastion: network "tcp" and
// "host:port" (RFC 4254 section 7.1), or "unix" and the path of a socket there
// (OpenSSH's PROTOCOL, section 2.4). The host is as for ssh -R: an IP address
// of the bastion, "localhost", or "" or "*" for all of its addresses; whether
// sshd listens on others than loopback is for its GatewayPorts to say.
//
// The listener is there at once. The bastion is asked to listen when the
// handle is started and the tunnel connected, which a listener sees to even
// if the tunnel is lazy, and again on each new connection. Until it does,
// and while it refuses, Accept waits. Listeners for the same address share a
// forward: the newest one whose handle is started and not closed gets the
// connections, and those that wait go from one to the next. Closing the handle
// takes its listeners out of service and does not close them.
//
// Errors tell of an address that cannot be listened on; ErrClosed is returned
// by a closed handle.
func (h *Handle) Listen(network, address string) (*Listener, error) {
	a, err := parseRemoteAddress(network, address)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	return h.pool.listen(h, a), nil
}

// Accept implements net.Listener. The connections are *Conn; their RemoteAddr
// is the peer's, as the bastion saw it, their LocalAddr what it listens on. It
// waits for no connection's write to the bastion.
// Accept fails only once the listener is closed, with net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		in := l.next()
		if in == nil {
			return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
		}
		if c := in.accept(); c != nil {
			return c, nil
		}
	}
}

// next waits for a connection. It returns nil once the listener is closed.
func (l *Listener) next() *inbound {
	f := l.forward
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	for !l.closed {
		if len(f.queue) > 0 && f.newest() == l {
			in := f.queue[0]
			f.queue = slices.Delete(f.queue, 0, 1)
			return in
		}
		f.turn.Wait()
	}
	return nil
}

// Close implements net.Listener. It does not block. With the address's last
// listener the bastion stops listening, and what nobody has accepted
// is refused; what was accepted goes on.
func (l *Listener) Close() error {
	f := l.forward
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.closed = true
	f.listeners = slices.DeleteFunc(f.listeners, func(o *Listener) bool { return o == l })
	f.wake()
	f.pool.broadcast() // Established may wait
	return nil
}

// Addr implements net.Listener: the address that was asked for. It is a
// *net.TCPAddr or a *net.UnixAddr, unless the host is a name; localhost is
// 127.0.0.1.
func (l *Listener) Addr() net.Addr { return l.forward.address.addr() }

var _ net.Listener = (*Listener)(nil)
