package listen

// shared.go contains the sockets that local and dynamic forwards listen on.
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
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
)

var (
	// mu guards sockets, and the holds and serving of each. It is not held while
	// anything is done to a socket or its file, such as the lookup of a name to
	// listen on: who asks for the status does not wait for that. Caddy starts and
	// stops one configuration at a time, so nobody else does the same meanwhile.
	mu sync.Mutex
	// sockets has one per address, whichever configurations listen on it. It lacks one
	// whose file was removed, once another took its place.
	sockets = map[string]*socket{}
)

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
	address   hostport.ListenAddress // with the permissions that it wants
}

// Lease is a share in a socket.
type Lease struct {
	// Addr is the socket's own address.
	Addr net.Addr
	// Serve makes the socket's connections come to this one who has it open, in the
	// background. It is called once at most, and not after stop.
	Serve func()
	// Stop gives the share back. It leaves connections alone.
	Stop func()
}

// Open opens the socket of an address, which it has in common with the
// forwards of other configurations. Once the lease serves, connections are forwarded
// by f, until another serves after it.
func Open(a hostport.ListenAddress, f *forward.Forwarder) (Lease, error) {
	s := at(a)
	if s == nil || !s.isInPlace() {
		ln, err := listenAt(a)
		if err != nil {
			return Lease{}, explain(a, err)
		}
		s = &socket{ln: ln}
	}
	mu.Lock()
	defer mu.Unlock()
	sockets[a.String()] = s
	s.holds++
	f.Count = &s.count
	t := &tenant{f, a}
	return Lease{
		Addr:  s.ln.Addr(),
		Serve: func() { s.serve(t) },
		Stop:  sync.OnceFunc(func() { s.release(t) }),
	}, nil
}

// Status reports whether there is a socket of an address, and how many of its
// connections are open.
func Status(a hostport.ListenAddress) (listening bool, connections int) {
	s := at(a)
	if s == nil {
		return false, 0
	}
	return true, s.count.Open()
}

// at returns the socket of an address, or nil.
func at(a hostport.ListenAddress) *socket {
	mu.Lock()
	defer mu.Unlock()
	return sockets[a.String()]
}

// isInPlace reports whether clients can come by the socket: if it has a file, that
// may have been removed, or another put in its place.
func (s *socket) isInPlace() bool {
	file, ok := s.ln.(*FileListener)
	return !ok || file.isInPlace()
}

// explain says why an address cannot be listened on, where it is one of ours that
// has the port: at another address, which an earlier configuration has, or this
// one as well.
func explain(a hostport.ListenAddress, err error) error {
	_, port, _ := net.SplitHostPort(a.Address)
	if !errors.Is(err, syscall.EADDRINUSE) || port == "" {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	for key, s := range sockets {
		if _, taken, _ := net.SplitHostPort(s.ln.Addr().String()); taken == port {
			return fmt.Errorf("%w, by a forward of this Caddy that listens on %q; load a configuration without that one first", err, key)
		}
	}
	return err
}

// serve puts t in service.
func (s *socket) serve(t *tenant) {
	mu.Lock()
	first := s.current.Load() == nil
	s.serving = append(s.serving, t)
	s.current.Store(t.forwarder)
	mu.Unlock()
	s.setMode(t)
	if first {
		go func() { _ = forward.Serve(s.ln, s.current.Load) }() // until the socket is closed
	}
}

// setMode gives the socket the permissions that t wants: not before t serves,
// since a configuration may fail to start.
func (s *socket) setMode(t *tenant) {
	file, ok := s.ln.(*FileListener)
	if !ok {
		return
	}
	if err := file.setMode(t.address.Mode); err != nil {
		t.forwarder.Logger.Warn("setting the permissions of a socket failed", zap.Stringer("listen", t.address), zap.Error(withoutPath(err)))
	}
}

// release takes t out of service, and closes the socket if nobody else has it
// open.
func (s *socket) release(t *tenant) {
	newest, open := s.remove(t)
	switch {
	case newest != nil:
		s.setMode(newest)
	case !open:
		_ = s.ln.Close() // nobody is left to tell
	}
}

// remove is the part of release that is done under mu. It returns who is the
// newest in service, nil if nobody is, and whether somebody has the socket open.
func (s *socket) remove(t *tenant) (newest *tenant, open bool) {
	mu.Lock()
	defer mu.Unlock()
	s.serving = slices.DeleteFunc(s.serving, func(o *tenant) bool { return o == t })
	if n := len(s.serving); n > 0 {
		newest = s.serving[n-1]
		s.current.Store(newest.forwarder)
	}
	s.holds--
	if key := t.address.String(); s.holds == 0 && sockets[key] == s {
		delete(sockets, key)
	}
	return newest, s.holds > 0
}
