package bind

import (
	"context"
	"net"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
)

// idleListener accepts nothing. It is for redirects on a socket of the bastion:
// a socket has no port that tells them from the site that they lead to.
type idleListener struct {
	address hostport.ListenAddress
	ctx     context.Context // until it is closed
	close   context.CancelFunc
}

// NewIdle returns a listener that has an address and accepts nothing.
func NewIdle(address hostport.ListenAddress) net.Listener {
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
func (l *idleListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: l.address.Address} }
