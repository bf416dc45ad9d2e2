package pool

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/renewal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// renewed is a pool as package renewal sees it.
type renewed struct{ *Pool }

// FilesChanged implements renewal.Tunnel. A refused attempt is made again.
func (r renewed) FilesChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wake()
}

// Connections implements renewal.Tunnel.
func (r renewed) Connections() (conns []renewal.Connection) {
	for _, m := range r.activeMembers() {
		conns = append(conns, m)
	}
	return conns
}

// Replace implements renewal.Tunnel.
func (r renewed) Replace(c renewal.Connection, why string) { r.replace(c.(*member), reasonCert, why) }

// Expiring implements renewal.Tunnel.
func (r renewed) Expiring(about []zap.Field) {
	r.emit(report.EventCertificateExpiring, r.addressInUse(), about...)
}

// Log implements renewal.Tunnel.
func (r renewed) Log() *zap.Logger { return r.log() }

// Certificates implements renewal.Connection.
func (m *member) Certificates() []sshauth.Certificate { return m.certificates }

// Started implements renewal.Connection.
func (m *member) Started() time.Time { return m.client.Started() }

// watchCertificates makes renewal.Watch look at a new connection's certificates.
func (m *member) watchCertificates() {
	if len(m.certificates) == 0 {
		return
	}
	select {
	case m.pool.certified <- struct{}{}:
	default:
	}
}
