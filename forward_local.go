package sshtunnel

// forward_local.go contains the sockets that local and dynamic forwards listen on.
// A configuration takes over the socket of the one before it, so that no client
// meets a closed port in between.

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

// sockets are those that forwards listen on.
var sockets socketRegistry

// listenShared opens the socket of an address, which it has in common with the
// forwards of other configurations. Once the lease serves, connections are forwarded
// by f, until another serves after it.
func listenShared(a listenAddress, f *forward.Forwarder) (lease, error) { return sockets.open(a, f) }

// sharedStatus tells whether there is a socket of an address, and how many of its
// connections are open.
func sharedStatus(a listenAddress) (listening bool, connections int) { return sockets.status(a) }

// socketRegistry has one socket per address, whichever configurations listen
// on it. Its zero value is empty.
type socketRegistry struct {
	// mu guards sockets, and the holds and serving of each. It is not held while
	// anything is done to a socket or its file, such as the lookup of a name to
	// listen on: who asks for the status does not wait for that. Caddy starts and
	// stops one configuration at a time, so nobody else does the same meanwhile.
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
	// serve, the newest last.
	holds   int
	serving []*tenant
}

// tenant is one of those who have a socket open.
type tenant struct {
	forwarder *forward.Forwarder
	address   listenAddress // with the permissions that it wants
}

// lease is a share in a socket.
type lease struct {
	// serve makes the socket's connections come to this one who has it open, in the
	// background. It is called once at most, and not after stop.
	serve func()
	// stop gives the share back. It leaves connections alone.
	stop func()
}

// open opens the socket of an address. Once it serves, connections are
// forwarded by f, until somebody serves after it.
func (r *socketRegistry) open(a listenAddress, f *forward.Forwarder) (lease, error) {
	s := r.at(a)
	if s == nil || !s.isInPlace() {
		ln, err := listenAt(a)
		if err != nil {
			return lease{}, r.explain(a, err)
		}
		s = &socket{ln: ln}
	}
	r.hold(a, s)
	f.Count = &s.count
	t := &tenant{f, a}
	return lease{
		serve: func() { r.serve(s, t) },
		stop:  sync.OnceFunc(func() { r.release(s, t) }),
	}, nil
}

// at returns the socket of an address, or nil.
func (r *socketRegistry) at(a listenAddress) *socket {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sockets[a.String()]
}

// hold counts one more who has a socket open, which is that of the address from
// now on.
func (r *socketRegistry) hold(a listenAddress, s *socket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sockets == nil {
		r.sockets = make(map[string]*socket)
	}
	r.sockets[a.String()] = s
	s.holds++
}

// isInPlace tells whether clients can come by the socket: if it has a file, that
// may have been removed, or another put in its place.
func (s *socket) isInPlace() bool {
	file, ok := s.ln.(*socketListener)
	return !ok || file.isInPlace()
}

// explain says why an address cannot be listened on, where it is one of ours that
// has the port: at another address, which an earlier configuration has, or this
// one as well.
func (r *socketRegistry) explain(a listenAddress, err error) error {
	_, port, _ := net.SplitHostPort(a.address)
	if !errors.Is(err, syscall.EADDRINUSE) || port == "" {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range r.sockets {
		if _, taken, _ := net.SplitHostPort(s.ln.Addr().String()); taken == port {
			return fmt.Errorf("%w, by a forward of this Caddy that listens on %q; load a configuration without that one first", err, key)
		}
	}
	return err
}

func (r *socketRegistry) status(a listenAddress) (listening bool, connections int) {
	s := r.at(a)
	if s == nil {
		return false, 0
	}
	return true, s.count.Open()
}

// serve puts t in service.
func (r *socketRegistry) serve(s *socket, t *tenant) {
	r.mu.Lock()
	first := s.current.Load() == nil
	s.serving = append(s.serving, t)
	s.current.Store(t.forwarder)
	r.mu.Unlock()
	s.setMode(t)
	if first {
		go s.serve()
	}
}

// setMode gives the socket the permissions that t wants: not before t serves,
// since a configuration may fail to start.
func (s *socket) setMode(t *tenant) {
	file, ok := s.ln.(*socketListener)
	if !ok {
		return
	}
	if err := file.setMode(t.address.mode); err != nil {
		t.forwarder.Logger.Warn("setting the permissions of a socket failed", zap.Stringer("listen", t.address), zap.Error(withoutPath(err)))
	}
}

// release takes t out of service, and closes the socket if nobody else has it
// open.
func (r *socketRegistry) release(s *socket, t *tenant) {
	newest, open := r.remove(s, t)
	switch {
	case newest != nil:
		s.setMode(newest)
	case !open:
		_ = s.ln.Close() // nobody is left to tell
	}
}

// remove is the part of release that is done under mu. It returns who is the
// newest in service, nil if nobody is, and whether somebody has the socket open.
func (r *socketRegistry) remove(s *socket, t *tenant) (newest *tenant, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.serving = slices.DeleteFunc(s.serving, func(o *tenant) bool { return o == t })
	if n := len(s.serving); n > 0 {
		newest = s.serving[n-1]
		s.current.Store(newest.forwarder)
	}
	s.holds--
	if key := t.address.String(); s.holds == 0 && r.sockets[key] == s {
		delete(r.sockets, key)
	}
	return newest, s.holds > 0
}

// serve accepts connections. It returns when the socket is closed.
func (s *socket) serve() {
	_ = forward.Serve(s.ln, s.current.Load) // it says that the socket is closed
}
