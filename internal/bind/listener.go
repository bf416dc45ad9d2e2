// Package bind listens on a bastion for sites of Caddy, whose listeners survive reloads
// without losing a connection. It does not read addresses and knows no configuration
// beyond its tunnel's handle. Only the root imports it.
package bind

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Network is the network of addresses such as `ssh_tunnel/prod:8080`.
const Network = "ssh_tunnel"

// binding is an address on a bastion that a configuration has a listener for. The
// configuration is known by its handle.
type binding struct {
	tunnel  string
	handle  *tunnel.Handle
	address hostport.ListenAddress
}

// bindings are those that are open: each binding's *boundListener, which is nil
// while that is made. Of two listeners of a configuration the newer would get all
// connections.
var bindings sync.Map

// Listen makes a bastion listen on an address, in the place of the
// configuration before if that has it. The handle is the configuration's own.
func Listen(tunnelName string, handle *tunnel.Handle, address hostport.ListenAddress) (net.Listener, error) {
	b := binding{tunnelName, handle, address}
	before := b.other()
	if _, taken := bindings.LoadOrStore(b, (*boundListener)(nil)); taken {
		return nil, AlreadyInUse(tunnelName, address)
	}
	ln, err := handle.Listen(address.Network, address.Address)
	if err != nil {
		bindings.Delete(b)
		return nil, err
	}
	l := newBoundListener(b, ln)
	bindings.Store(b, l)
	if err := l.succeed(before); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// AlreadyInUse is the error for an address that two sites of a configuration have.
func AlreadyInUse(tunnelName string, address hostport.ListenAddress) error {
	return fmt.Errorf("%q is already in use by another site of tunnel %q", address, tunnelName)
}

// Bound is an address on a bastion that a site listens on.
type Bound struct {
	Handle  *tunnel.Handle
	Address hostport.ListenAddress
	// Listener is nil while it is made.
	Listener *remote.Listener
	// Unread counts what was accepted and not used.
	Unread int
}

// Open returns what sites listen on, of all configurations, by address.
func Open() []Bound {
	var all []Bound
	bindings.Range(func(key, value any) bool {
		b := key.(binding)
		bound := Bound{Handle: b.handle, Address: b.address}
		if l := value.(*boundListener); l != nil {
			bound.Listener, bound.Unread = l.Listener, l.countUnread()
		}
		all = append(all, bound)
		return true
	})
	slices.SortFunc(all, func(a, b Bound) int { return cmp.Compare(a.Address.String(), b.Address.String()) })
	return all
}

// boundListener is a listener on the bastion, which survives the reloads of its
// configuration's successors without losing a connection.
type boundListener struct {
	*remote.Listener
	binding binding
	// conns are to be accepted.
	conns chan net.Conn
	// ctx ends, by end, when the listener is closed.
	ctx context.Context
	end context.CancelFunc

	// mu guards unread: what was accepted and can be taken back. It is nil once the
	// listener is closed.
	mu     sync.Mutex
	unread map[*unreadConn]bool
}

func newBoundListener(b binding, ln *remote.Listener) *boundListener {
	l := &boundListener{Listener: ln, binding: b, conns: make(chan net.Conn), unread: map[*unreadConn]bool{}}
	l.ctx, l.end = context.WithCancel(context.Background())
	go l.pump(ln)
	return l
}

// pump takes what a listener accepts. It returns when that is closed.
func (l *boundListener) pump(ln *remote.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		l.offer(conn)
	}
}

// offer waits until a connection is accepted. If the listener is closed it passes
// it on.
func (l *boundListener) offer(conn net.Conn) {
	select {
	case l.conns <- conn:
	case <-l.ctx.Done():
		l.pass(conn)
	}
}

// pass gives a connection to another configuration's listener for the address. It
// does not wait.
func (l *boundListener) pass(conn net.Conn) {
	other := l.binding.other()
	if other == nil {
		_ = conn.Close() // nobody is left to take it
		return
	}
	_ = conn.SetDeadline(time.Time{})
	go other.offer(conn)
}

// Accept implements net.Listener.
func (l *boundListener) Accept() (net.Conn, error) {
	for {
		select {
		case conn := <-l.conns:
			c := &unreadConn{Conn: conn, from: l}
			if l.remember(c) {
				return c, nil
			}
			l.pass(conn)
		case <-l.ctx.Done():
			return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
		}
	}
}

// remember keeps a connection in mind that may be taken back. It is false if the
// listener is closed.
func (l *boundListener) remember(c *unreadConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unread == nil {
		return false
	}
	l.unread[c] = true
	return true
}

func (l *boundListener) countUnread() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.unread)
}

// forget drops a connection that cannot be taken back any more.
func (l *boundListener) forget(c *unreadConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.unread, c)
}

// Close implements net.Listener. If another configuration listens on the address,
// that gets what has been accepted and not used.
func (l *boundListener) Close() error {
	bindings.CompareAndDelete(l.binding, l)
	l.end()
	l.mu.Lock()
	unread := l.unread
	l.unread = nil
	l.mu.Unlock()
	// First of all, because net/http closes a connection whose first byte it reads
	// while it shuts down, and the shutdown has begun. Without another listener
	// the server may serve them yet.
	if l.binding.other() != nil {
		for c := range unread {
			if c.take() {
				l.pass(c.Conn)
			}
		}
	}
	return l.Listener.Close()
}

// Addr implements net.Listener.
func (l *boundListener) Addr() net.Addr {
	return boundAddr{l.Listener.Addr(), Network + "/" + l.binding.tunnel}
}

// boundAddr is an address on a bastion. It is another than one of the same words
// here, or on another bastion.
type boundAddr struct {
	net.Addr
	network string
}

// Network implements net.Addr.
func (a boundAddr) Network() string { return a.network }
