package sshtunnel

// forward_local.go contains local forwards, as of ssh -L, and the sockets that
// they and dynamic forwards listen on. A configuration takes over the socket
// of the one before it, so that no client meets a closed port in between.

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
)

// openLocal opens a local forward: listening here, dialing the target from the
// bastion.
func (f *Forward) openLocal(tun dialer, logger *zap.Logger) (openForward, error) {
	open, err := sockets.open(f.listen, f.forwarder(dialFor(tun, f.target), logger))
	if err != nil {
		return openForward{}, fmt.Errorf("local_forward: %w", err)
	}
	return open, nil
}

// sockets are those that forwards listen on.
var sockets socketRegistry

// socketRegistry has one socket per address, whichever configurations listen
// on it. Its zero value is empty.
type socketRegistry struct {
	mu sync.Mutex
	// sockets lacks one whose file was removed, once another took its place.
	sockets map[string]*socket
}

// socket is a listener and who gets its connections.
type socket struct {
	ln net.Listener
	// count is of the connections, whichever configuration they came by.
	count forward.Count
	// current forwards what is accepted. Once nobody serves any more, it is
	// still who did last, for what was accepted in that moment.
	current atomic.Pointer[forward.Forwarder]

	// holds is how many have the socket open, and serving are those of them who
	// serve, the newest last. They are guarded by the registry's mu.
	holds   int
	serving []*tenant
}

// tenant is one of those who have a socket open.
type tenant struct {
	forwarder *forward.Forwarder
	address   listenAddress // with the permissions that it wants
}

// open opens the socket of an address. Once it serves, connections are
// forwarded by f, until somebody serves after it.
func (r *socketRegistry) open(a listenAddress, f *forward.Forwarder) (openForward, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := a.String()
	s, ok := r.sockets[key]
	if ok && a.isGone() {
		// Nobody can connect to it any more, and the file to come is not its.
		s.ln.(*net.UnixListener).SetUnlinkOnClose(false)
		ok = false
	}
	if !ok {
		ln, err := a.listen()
		if err != nil {
			return openForward{}, r.explain(a, err)
		}
		s = &socket{ln: ln}
		if r.sockets == nil {
			r.sockets = make(map[string]*socket)
		}
		r.sockets[key] = s
	}
	s.holds++
	f.Count = &s.count
	t := &tenant{f, a}
	return openForward{
		serve: func() { r.serve(s, t) },
		stop:  sync.OnceFunc(func() { r.release(s, t) }),
	}, nil
}

// explain says why an address cannot be listened on, where it is one of ours that
// has the port: at another address, which an earlier configuration has, or this
// one as well. r.mu is held.
func (r *socketRegistry) explain(a listenAddress, err error) error {
	_, port, _ := net.SplitHostPort(a.address)
	if !errors.Is(err, syscall.EADDRINUSE) || port == "" {
		return err
	}
	for key, s := range r.sockets {
		if _, taken, _ := net.SplitHostPort(s.ln.Addr().String()); taken == port {
			return fmt.Errorf("%w, by a forward of this Caddy that listens on %q; load a configuration without that one first", err, key)
		}
	}
	return err
}

// status tells whether there is a socket of an address, and how many of its
// connections are open.
func (r *socketRegistry) status(a listenAddress) (listening bool, connections int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sockets[a.String()]
	if !ok {
		return false, 0
	}
	return true, s.count.Open()
}

// serve puts t in service.
func (r *socketRegistry) serve(s *socket, t *tenant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := s.current.Load() == nil
	s.serving = append(s.serving, t)
	r.give(s, t)
	if first {
		go s.serve()
	}
}

// give has t forward the connections, and the socket have the permissions that t
// wants: not before it serves, since a configuration may fail to start. r.mu is
// held.
func (r *socketRegistry) give(s *socket, t *tenant) {
	s.current.Store(t.forwarder)
	if r.sockets[t.address.String()] != s {
		return // the file is another's
	}
	if err := t.address.setMode(); err != nil {
		t.forwarder.Logger.Warn("setting the permissions of a socket failed", zap.Error(err))
	}
}

// release takes t out of service, and closes the socket if nobody else has it
// open.
func (r *socketRegistry) release(s *socket, t *tenant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.serving = slices.DeleteFunc(s.serving, func(o *tenant) bool { return o == t })
	if n := len(s.serving); n > 0 {
		r.give(s, s.serving[n-1])
	}
	if s.holds--; s.holds > 0 {
		return
	}
	if key := t.address.String(); r.sockets[key] == s {
		delete(r.sockets, key)
	}
	_ = s.ln.Close() // nobody is left to tell
}

// serve accepts connections. It returns when the socket is closed.
func (s *socket) serve() {
	_ = forward.Serve(s.ln, s.current.Load) // it says that the socket is closed
}
