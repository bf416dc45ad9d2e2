package tunnel

import (
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

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
// Errors are those of addresses that cannot be listened on, and ErrClosed of a closed
// handle.
func (h *Handle) Listen(network, address string) (*remote.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	p := h.pool
	l, err := p.forwards.Listen(h, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake() // a lazy tunnel connects for it
	return l, nil
}

// forwarding is a pool as its forwards see it.
type forwarding struct{ *pool }

// ConnectionFor implements remote.Tunnel. A forward that moves goes to a connection for
// streams if there is one.
func (f forwarding) ConnectionFor(now remote.Connection) remote.Connection {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, _ := now.(*member)
	active := f.active()
	switch {
	case slices.Contains(f.present(), m):
		return m
	case len(active) == 0:
		return nil
	default:
		return best(active, Stream)[0]
	}
}

// Replace implements remote.Tunnel.
func (f forwarding) Replace(c remote.Connection) {
	f.replace(c.(*member), reasonForward, "the bastion would not cancel a remote forward")
}

// ReconnectMax implements remote.Tunnel.
func (f forwarding) ReconnectMax() time.Duration { return f.settings().ReconnectMax }

// Log implements remote.Tunnel.
func (f forwarding) Log() *zap.Logger { return f.log() }

// Client implements remote.Connection.
func (m *member) Client() *sshconn.Client { return m.client }

// Hold implements remote.Connection.
func (m *member) Hold() {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	m.channels++
	m.held++
}

// Release implements remote.Connection.
func (m *member) Release() {
	m.pool.mu.Lock()
	m.held--
	m.pool.mu.Unlock()
	m.pool.channelEnded(m)
}

// Draining implements remote.Connection.
func (m *member) Draining() <-chan struct{} { return m.draining }

// LogLevel implements remote.Connection.
func (m *member) LogLevel(own zapcore.Level) zapcore.Level {
	return m.pool.reports.followUp(own, m.client.Age())
}

var (
	_ remote.Tunnel     = forwarding{}
	_ remote.Connection = (*member)(nil)
)
