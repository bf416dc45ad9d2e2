package pool

import (
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// Listen returns a listener of a configuration's for an address on the bastion; see
// remote.Forwards. A lazy tunnel connects for it.
func (p *Pool) Listen(id any, network, address string) (*remote.Listener, error) {
	l, err := p.forwards.Listen(id, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake()
	return l, nil
}

// forwarding is a pool as its forwards see it.
type forwarding struct{ *Pool }

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
	return m.pool.reports.FollowUp(own, m.client.Age())
}

var (
	_ remote.Tunnel     = forwarding{}
	_ remote.Connection = (*member)(nil)
)
