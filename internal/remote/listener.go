package remote

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// Listener accepts the connections to an address on the bastion: a remote
// forward, as of ssh -R. It implements net.Listener.
type Listener struct {
	forward *forward
	owner   any
	// closed is guarded by Forwards.mu.
	closed bool
}

// Accept implements net.Listener. The connections are *sshconn.Conn; their RemoteAddr
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
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
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
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.closed = true
	f.listeners = slices.DeleteFunc(f.listeners, func(o *Listener) bool { return o == l })
	f.wake()
	return nil
}

// Addr implements net.Listener: the address that was asked for. It is a
// *net.TCPAddr or a *net.UnixAddr, unless the host is a name; localhost is
// 127.0.0.1.
func (l *Listener) Addr() net.Addr { return l.forward.address.addr() }

// Established waits until the bastion listens, or has refused to for longer than a port
// may be held by the connection before; then it returns why. A listener that was refused
// goes on asking. Errors are also net.ErrClosed, once the listener is closed or its
// tunnel has ended, and a *failure.TimeoutError when ctx ends.
func (l *Listener) Established(ctx context.Context) error {
	f := l.forward
	defer context.AfterFunc(ctx, func() {
		f.all.mu.Lock()
		defer f.all.mu.Unlock()
		f.turn.Broadcast()
	})()
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	for {
		switch {
		case l.closed, f.all.ctx.Err() != nil:
			return net.ErrClosed
		case f.answer != nil:
			return f.answer.err
		case ctx.Err() != nil:
			return &failure.TimeoutError{Tunnel: f.all.name, Doing: fmt.Sprintf("waiting for the bastion to listen on %q", f.address), Cause: context.Cause(ctx)}
		}
		f.turn.Wait()
	}
}

var _ net.Listener = (*Listener)(nil)
