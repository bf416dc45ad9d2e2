package pool

import (
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/metrics"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// history is what has happened to a tunnel, for its status. Pool.mu guards it.
type history struct {
	// since is when there last was a first connection, or none any more, or else when
	// the pool was made.
	since time.Time
	// used is when a channel was last open, or there last was a first connection.
	used time.Time
	// lostAt is when the last connection was lost, until there is another.
	lostAt time.Time
	// lastErr is what went wrong last, or nil.
	lastErr *report.ErrorStatus
	// unused is what is known of a bastion that ends connections without channels.
	unused unusedEnds
}

// lost records the loss of the last connection.
func (h *history) lost(now time.Time, why *report.ErrorStatus) {
	h.since, h.lostAt, h.lastErr = now, now, why
}

// Status returns what there is to know about the tunnel, but for what a configuration
// has chosen: Lazy and ProxyJump.
func (p *Pool) Status() report.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := report.Status{
		Tunnel: p.cfg.Name, State: p.state(), Hosts: p.cfg.Addresses(), User: p.cfg.User,
		Connections:   []report.ConnectionStatus{},
		ChannelsTotal: p.counters.Opened.Load() + p.counters.Accepted.Load(),
		Since:         p.history.since, LastError: p.history.lastErr,
	}
	if s.State == report.StateUp {
		s.Host = p.failback.inUse.Address
	}
	for _, n := range p.queue.lines {
		s.WaitingDials += len(n.waiting)
	}
	for _, l := range p.members {
		c := l.status()
		s.Connections = append(s.Connections, c)
		s.Channels += c.Channels
		s.PendingOpens += c.PendingOpens
		if l.isDraining() {
			continue
		}
		if t := c.CertificateExpires; t != nil && (s.CertificateExpires == nil || t.Before(*s.CertificateExpires)) {
			s.CertificateExpires = t
		}
		if c.RTT > 0 {
			s.RTT = c.RTT
		}
		if last := l.prohibited; last != nil && (s.Prohibited == nil || last.Time.After(s.Prohibited.Time)) {
			s.Prohibited = last
		}
	}
	s.Received, s.Sent = p.counters.Received.Load(), p.counters.Sent.Load() // connections have counted theirs by now
	switch s.State {
	case report.StateDown, report.StateReconnecting, report.StateUp: // up: one that is to replace another, or to be added
		if due, _ := p.due(p.retry.demand.Dials); due.After(time.Now()) && p.wanted() {
			s.NextRetry = &due
		}
	}
	for _, h := range p.hosts {
		if h.attempt != nil {
			s.Attempts = append(s.Attempts, h.attempt)
		}
	}
	return s
}

// state is the tunnel's. The caller holds mu.
func (p *Pool) state() report.State {
	switch {
	case len(p.active()) > 0:
		return report.StateUp
	case p.retry.state == retryFailed:
		return report.StateDown
	case !p.wanted():
		return report.StateIdle
	case !p.history.lostAt.IsZero() || len(p.present()) > 0:
		return report.StateReconnecting
	default:
		return report.StateConnecting
	}
}

// class is what a connection is for, in a word. The caller holds Pool.mu.
func (m *member) class() string {
	switch {
	case m.isDraining():
		return report.ClassDraining
	case m.carries == Request:
		return report.ClassRequests
	case m.carries == Stream:
		return report.ClassStreams
	case m.carries.isApart():
		return report.ClassLookups
	default:
		return report.ClassAny
	}
}

// status is the connection's. The caller holds Pool.mu.
func (m *member) status() report.ConnectionStatus {
	received, sent := m.client.Traffic()
	c := report.ConnectionStatus{
		Host: m.host.Address, Remote: m.client.RemoteAddr().String(),
		Class: m.class(), Stalled: m.isStalledNow(), Since: m.client.Started(),
		Channels: len(m.conns), QuietChannels: m.quiet, PendingOpens: m.opens.pending(),
		Received: received, Sent: sent,
		RTT: connect.SecondsOf(m.client.RoundTrip()),
	}
	if a := m.attempt; a != nil {
		c.Server, c.Algorithms = a.Server, a.Algorithms
		c.HostKey, c.HostKeySource = a.HostKey, a.HostKeySource
		c.User, c.Authentication = a.User, a.Authentication
	}
	if t := m.certificateExpiry(); !t.IsZero() {
		c.CertificateExpires = &t
	}
	return c
}

// certificateExpiry is when the first certificate does, or zero.
func (m *member) certificateExpiry() (first time.Time) {
	for _, cert := range m.certificates {
		if t := algorithms.ValidUntil(cert.Certificate); !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// AddTo adds the tunnel's numbers to the gauges of its name, with those of other pools of
// that name during a reload: the state is then up if one of them is.
func (p *Pool) AddTo(g *metrics.Gauges) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.configured) > 0 {
		if s := p.state(); !g.Configured || s == report.StateUp {
			g.State, g.Up = string(s), s == report.StateUp
		}
		g.Configured = true
	}
	for _, l := range p.members {
		g.Connections[l.class()]++
		g.Channels[l.class()] += len(l.conns)
		g.Pending += l.opens.pending()
		l.client.Traffic() // counts what has gone through it
		if t := l.certificateExpiry(); !t.IsZero() && !l.isDraining() && (g.Expiry.IsZero() || t.Before(g.Expiry)) {
			g.Expiry = t
		}
	}
	for listen, up := range p.forwards.Listening() {
		g.Forwards[listen] = g.Forwards[listen] || up
	}
}
