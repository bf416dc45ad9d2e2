package sshtunnel

// network.go contains the network ssh_tunnel: what Caddy serves there is
// listened for by a bastion.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// networkName is the network of addresses such as `ssh_tunnel/prod:8080`.
const networkName = "ssh_tunnel"

func init() {
	caddy.RegisterNetwork(networkName, listenOnBastion)
}

// errNotAModule refuses the admin endpoint, which has no context that says
// which configuration it belongs to; the remote one has, but is no module.
var errNotAModule = errors.New("the admin endpoint cannot be on a bastion, where whoever connects could change the configuration; give it an address of this machine")

// errNoTunnelNamed refuses an address without a tunnel.
var errNoTunnelNamed = errors.New("no tunnel; write ssh_tunnel/<tunnel>, or ssh_tunnel/<tunnel>/<address of the bastion>")

// listenOnBastion is the listener function of the network:
//
//	ssh_tunnel/<tunnel>[/<address>]:<port>
//	ssh_tunnel/<tunnel>/unix/<path>
//
// The address is one of the bastion's, or * for all of them. Default: its
// loopback.
//
// The listener is there at once, whether the tunnel is up or not, and stays
// through lost connections. Errors tell of what can never work: an unknown
// tunnel, an address that is none or that the configuration has already, the
// admin endpoint.
func listenOnBastion(ctx context.Context, _, host, portRange string, portOffset uint, _ net.ListenConfig) (any, error) {
	module, ok := ctx.(caddy.Context)
	if !ok || module.Module() == nil {
		return nil, errNotAModule
	}
	name, where, _ := strings.Cut(host, "/")
	if name == "" {
		return nil, errNoTunnelNamed
	}
	t, err := lookupTunnel(module, name)
	if err != nil {
		return nil, err
	}
	port, err := portAt(portRange, portOffset)
	if err != nil {
		return nil, err
	}
	address, err := parseBind(where, port)
	if err != nil {
		return nil, err
	}
	if redirects(module, caddy.NetworkAddress{Network: networkName, Host: host, StartPort: port, EndPort: port}) {
		if address.network == "unix" {
			return newIdleListener(address), nil
		}
		t.logger.Info("listening for automatic HTTPS's redirects as well", zap.Stringer("listen", address))
	}
	return t.bind(address)
}

// portAt returns a port of a range, as Caddy gives both.
func portAt(portRange string, offset uint) (uint, error) {
	first, _, _ := strings.Cut(portRange, "-")
	port, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %q is not a number", portRange)
	}
	return uint(port) + offset, nil
}

// parseBind reads where on the bastion to listen.
func parseBind(where string, port uint) (listenAddress, error) {
	if path, ok := strings.CutPrefix(where, "unix/"); ok {
		if strings.Contains(path, "|") {
			return listenAddress{}, fmt.Errorf("socket %q: the bastion sets its permissions; remove the | and set StreamLocalBindMask there", path)
		}
		return parseListen(where, onBastion)
	}
	if strings.Contains(where, "/") {
		return listenAddress{}, fmt.Errorf("%q is neither an address of the bastion nor unix//path", where)
	}
	return parseListen(net.JoinHostPort(where, strconv.FormatUint(uint64(port), 10)), onBastion)
}

// redirectServer is what Caddy calls the server that it adds for automatic
// HTTPS's redirects, if no other has the address.
const redirectServer = "remaining_auto_https_redirects"

// redirects tells whether it is that server that listens on an address.
func redirects(ctx caddy.Context, address caddy.NetworkAddress) bool {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return false
	}
	http, ok := app.(*caddyhttp.App)
	if !ok {
		return false
	}
	server, ok := http.Servers[redirectServer]
	return ok && slices.Contains(server.Listen, address.String())
}

// binding is an address on the bastion that a configuration has a listener for.
type binding struct {
	t       *openTunnel
	address listenAddress
}

// bindings are those that are open: each binding's *boundListener, which is nil
// while that is made. Of two listeners of a configuration the newer would get all
// connections.
var bindings sync.Map

// bind has the bastion listen on an address, in the place of the configuration
// before if that has it.
func (t *openTunnel) bind(address listenAddress) (net.Listener, error) {
	for _, f := range t.RemoteForwards {
		if f.Listen == address {
			return nil, fmt.Errorf("%q is listened on already, by a remote_forward of tunnel %q", address, t.Config.Name)
		}
	}
	b := binding{t, address}
	before := b.other()
	if _, taken := bindings.LoadOrStore(b, (*boundListener)(nil)); taken {
		return nil, fmt.Errorf("%q is listened on already, by another site of tunnel %q", address, t.Config.Name)
	}
	ln, err := t.handle.Listen(address.network, address.address)
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

// boundListener is a listener on the bastion, which survives the reloads of its
// configuration's successors without losing a connection.
type boundListener struct {
	*tunnel.Listener
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

func newBoundListener(b binding, ln *tunnel.Listener) *boundListener {
	l := &boundListener{Listener: ln, binding: b, conns: make(chan net.Conn), unread: map[*unreadConn]bool{}}
	l.ctx, l.end = context.WithCancel(context.Background())
	go l.pump(ln)
	return l
}

// pump takes what a listener accepts. It returns when that is closed.
func (l *boundListener) pump(ln *tunnel.Listener) {
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
	return boundAddr{l.Listener.Addr(), networkName + "/" + l.binding.t.Config.Name}
}

// boundAddr is an address on a bastion. It is another than one of the same words
// here, or on another bastion.
type boundAddr struct {
	net.Addr
	network string
}

// Network implements net.Addr.
func (a boundAddr) Network() string { return a.network }

// idleListener accepts nothing. It is for redirects on a socket of the bastion:
// a socket has no port that tells them from the site that they lead to.
type idleListener struct {
	address listenAddress
	ctx     context.Context // until it is closed
	close   context.CancelFunc
}

func newIdleListener(address listenAddress) *idleListener {
	l := &idleListener{address: address}
	l.ctx, l.close = context.WithCancel(context.Background())
	return l
}

// Accept implements net.Listener. It returns when the listener is closed.
func (l *idleListener) Accept() (net.Conn, error) {
	<-l.ctx.Done()
	return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
}

// Close implements net.Listener.
func (l *idleListener) Close() error {
	l.close()
	return nil
}

// Addr implements net.Listener.
func (l *idleListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: l.address.address} }

// Interface guards
var (
	_ net.Listener = (*boundListener)(nil)
	_ net.Listener = (*idleListener)(nil)
)
