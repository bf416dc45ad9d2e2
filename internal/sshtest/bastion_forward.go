package sshtest

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// bastion_forward.go listens for clients: remote forwards, as of ssh -R.

// forwardRequest is the payload of tcpip-forward and cancel-tcpip-forward (RFC
// 4254 section 7.1).
type forwardRequest struct {
	Host string
	Port uint32
}

// streamlocalRequest is the payload of streamlocal-forward@openssh.com and its
// cancel- (section 2.4 of OpenSSH's PROTOCOL).
type streamlocalRequest struct{ Path string }

// forwardedTCPIP is the payload of a forwarded-tcpip open (RFC 4254 section
// 7.2).
type forwardedTCPIP struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

// forwardedStreamlocal is the payload of a forwarded-streamlocal@openssh.com
// open (section 2.4 of OpenSSH's PROTOCOL).
type forwardedStreamlocal struct {
	Path     string
	Reserved string
}

// forwards are what the bastion listens on for one connection. Only the
// goroutine that answers the connection's requests uses it.
type forwards struct {
	bastion   *Bastion
	conn      *ssh.ServerConn
	listeners map[forwardAddress]net.Listener
}

// forwardAddress is what a client asks to listen on, in its words.
type forwardAddress struct {
	network string // "tcp" or "unix"
	host    string // or path
	port    uint32
}

// parseForward reads a global request. It is false for one that is not about
// forwards.
func parseForward(request *ssh.Request) (a forwardAddress, cancel, ok bool) {
	name, cancel := strings.CutPrefix(request.Type, "cancel-")
	switch name {
	case "tcpip-forward":
		var p forwardRequest
		err := ssh.Unmarshal(request.Payload, &p)
		return forwardAddress{"tcp", p.Host, p.Port}, cancel, err == nil
	case "streamlocal-forward@openssh.com":
		var p streamlocalRequest
		err := ssh.Unmarshal(request.Payload, &p)
		return forwardAddress{"unix", p.Path, 0}, cancel, err == nil
	default:
		return forwardAddress{}, false, false
	}
}

// bind is the address to listen on in Go's words. Whatever the client says, it
// is a loopback one.
func (a forwardAddress) bind() string {
	if a.network == "unix" {
		return a.host
	}
	host := a.host
	switch ip := net.ParseIP(host); {
	case host == "::", host == "::1":
		host = "::1"
	case ip == nil || !ip.IsLoopback():
		host = "127.0.0.1"
	}
	return joinHostPort(host, a.port)
}

// answer answers a global request: it grants forwards and refuses all else.
func (f *forwards) answer(ctx context.Context, request *ssh.Request) {
	a, cancel, ok := parseForward(request)
	switch {
	case !ok:
	case cancel:
		ok = f.stop(a)
	default:
		ok = f.start(ctx, a) == nil
	}
	if request.WantReply {
		_ = request.Reply(ok, nil)
	}
}

// start listens on an address.
func (f *forwards) start(ctx context.Context, a forwardAddress) error {
	b := f.bastion
	b.mu.Lock()
	b.stats.ForwardRequests++
	refused := b.faults.RefuseForwards
	b.mu.Unlock()
	if refused {
		return errors.New("address already in use")
	}
	if _, ok := f.conn.Permissions.Extensions[permitForwarding]; !ok {
		return errProhibited
	}
	if err := b.opts.PermitListen(a.network, a.bind()); err != nil {
		return err
	}
	if a.network == "tcp" && (a.port == 0 || a.port > 65535) {
		return errors.New("no such port")
	}
	l, err := net.Listen(a.network, a.bind())
	if err != nil {
		b.opts.Logf("not listening on %s for %s: %v", a.bind(), f.conn.User(), err)
		return err
	}
	f.listeners[a] = l
	b.countForward(1)
	b.wg.Go(func() { f.acceptLoop(ctx, a, l) })
	return nil
}

// stop no longer listens on an address, and reports whether it did.
func (f *forwards) stop(a forwardAddress) bool {
	l, ok := f.listeners[a]
	if ok {
		_ = l.Close()
		delete(f.listeners, a)
		f.bastion.countForward(-1)
	}
	return ok
}

// close stops all.
func (f *forwards) close() {
	for _, a := range slices.Collect(maps.Keys(f.listeners)) {
		f.stop(a)
	}
}

func (b *Bastion) countForward(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stats.Forwards += n
}

// acceptLoop forwards the connections to an address. It returns when the
// listener is closed.
func (f *forwards) acceptLoop(ctx context.Context, a forwardAddress, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f.bastion.wg.Go(func() { f.serve(ctx, a, c) })
	}
}

// serve is one connection to an address. It returns when the client has refused
// it, or either side has closed it, or the client's connection has ended.
func (f *forwards) serve(ctx context.Context, a forwardAddress, c net.Conn) {
	defer func() { _ = c.Close() }()
	name, payload := a.open(c.RemoteAddr())
	channel, requests, err := f.conn.OpenChannel(name, payload)
	if err != nil {
		f.bastion.opts.Logf("connection to %s from %s refused: %v", a.bind(), c.RemoteAddr(), err)
		return
	}
	f.bastion.mu.Lock()
	f.bastion.stats.Forwarded++
	f.bastion.mu.Unlock()
	f.bastion.pipe(ctx, channel, requests, c)
}

// open is the channel open for a connection from a peer.
func (a forwardAddress) open(peer net.Addr) (name string, payload []byte) {
	if a.network == "unix" {
		return "forwarded-streamlocal@openssh.com", ssh.Marshal(forwardedStreamlocal{Path: a.host})
	}
	from := peer.(*net.TCPAddr)
	return "forwarded-tcpip", ssh.Marshal(forwardedTCPIP{a.host, a.port, from.IP.String(), uint32(from.Port)}) //nolint:gosec // a port
}
