package tunnel

import (
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// State is what a tunnel is like, in one word.
type State string

// The states.
const (
	// StateUp is connected.
	StateUp State = "up"
	// StateConnecting is that the first attempt to connect is under way.
	StateConnecting State = "connecting"
	// StateReconnecting is that the connection was lost, and no attempt to make
	// another one has failed yet.
	StateReconnecting State = "reconnecting"
	// StateDown is that the last attempt to connect has failed.
	StateDown State = "down"
	// StateIdle is that there is no connection and nobody wants one: the tunnel
	// is lazy, or the bastion closes connections that are not used.
	StateIdle State = "idle"
)

// States are all of them.
var States = []State{StateUp, StateConnecting, StateReconnecting, StateDown, StateIdle}

// Status is what there is to know about a tunnel at one moment.
type Status struct {
	// Tunnel is its name.
	Tunnel string `json:"tunnel"`
	State  State  `json:"state"`
	// Since is when the first of the connections was made after a time without
	// any, when the last was lost, or when the tunnel was configured if neither
	// has happened.
	Since time.Time `json:"since"`
	// Hosts are its bastions, in order of preference, and Host the one in use,
	// if it is connected.
	Hosts []string `json:"hosts"`
	Host  string   `json:"host,omitempty"`
	// User is whom it logs in as.
	User string `json:"user"`
	// ProxyJump is the tunnel that it goes through, if any.
	ProxyJump string `json:"proxy_jump,omitempty"`
	// Lazy says that it connects at first use.
	Lazy bool `json:"lazy,omitempty"`

	// RTT is the last round-trip time of a keepalive, in seconds, on the newest of
	// the connections that take channels. A connection has one soon after it was
	// made, unless server_alive_interval is 0.
	RTT connect.Seconds `json:"rtt,omitempty"`
	// Connections are its SSH connections, oldest first.
	Connections []ConnectionStatus `json:"connections"`
	// Channels counts those that are open, ChannelsTotal those that ever were,
	// and PendingOpens those that the bastion has yet to answer.
	Channels      int   `json:"channels"`
	ChannelsTotal int64 `json:"channels_total"`
	PendingOpens  int   `json:"pending_opens"`
	// Received and Sent count the bytes through channels, from and to the bastion,
	// those of connections that have ended included. These two and ChannelsTotal
	// go on through reloads.
	Received int64 `json:"received"`
	Sent     int64 `json:"sent"`
	// CertificateExpires is when the first of the certificates does that the
	// connections which take channels were let in with.
	CertificateExpires *time.Time `json:"certificate_expires,omitempty"`

	// LastError is the last failed attempt to connect, or the last loss of a
	// connection. It is kept when all is well again.
	LastError *ErrorStatus `json:"last_error,omitempty"`
	// Prohibited is what the bastion prohibited last on one of the connections that
	// take channels: a target, or a port to listen on. sshd keeps the settings that a
	// connection started with.
	Prohibited *ErrorStatus `json:"prohibited,omitempty"`
	// NextRetry is when the next attempt is, if one is wanted and not due.
	NextRetry *time.Time `json:"next_retry,omitempty"`
	// Attempts are the last attempts, one for each host that there was one at.
	Attempts []*connect.Attempt `json:"attempts,omitempty"`
}

// ConnectionStatus is about one SSH connection.
type ConnectionStatus struct {
	// Host is the bastion's "host:port", Remote the address connected to.
	Host   string `json:"host"`
	Remote string `json:"remote"`
	// Class is what it is for: "requests", "streams", "lookups" of names that clients
	// choose, "any" while it carries neither, or "draining" if it takes no more channels.
	Class string `json:"class"`
	// Stalled says that it takes none for now: the bastion does not respond.
	Stalled bool      `json:"stalled,omitempty"`
	Since   time.Time `json:"since"`
	// These are as in connect.Attempt.
	Server         string                 `json:"server"`
	Algorithms     *algorithms.Negotiated `json:"algorithms,omitempty"`
	HostKey        string                 `json:"host_key,omitempty"`
	HostKeySource  string                 `json:"host_key_source,omitempty"`
	User           string                 `json:"user"`
	Authentication string                 `json:"authentication"`
	// CertificateExpires is when that does that it was let in with.
	CertificateExpires *time.Time `json:"certificate_expires,omitempty"`
	// RTT is the last round-trip time of a keepalive, in seconds.
	RTT connect.Seconds `json:"rtt,omitempty"`
	// Channels counts the open channels, QuietChannels those of them without
	// traffic for 10 seconds, and PendingOpens those that the bastion has yet to
	// answer.
	Channels      int   `json:"channels"`
	QuietChannels int   `json:"quiet_channels"`
	PendingOpens  int   `json:"pending_opens"`
	Received      int64 `json:"received"`
	Sent          int64 `json:"sent"`
}

// ErrorStatus is what went wrong, and when.
type ErrorStatus struct {
	Time  time.Time     `json:"time"`
	Host  string        `json:"host"`
	Cause failure.Cause `json:"cause"`
	Error string        `json:"error"`
}

// history is what has happened to a tunnel, for its status. pool.mu guards it.
type history struct {
	// since is when there last was a first connection, or none any more, or else when
	// the pool was made.
	since time.Time
	// lostAt is when the last connection was lost, until there is another.
	lostAt time.Time
	// lastErr is what went wrong last, or nil.
	lastErr *ErrorStatus
	// unused is what is known of a bastion that ends connections without channels.
	unused unusedEnds
}

// lost records the loss of the last connection.
func (h *history) lost(now time.Time, why *ErrorStatus) {
	h.since, h.lostAt, h.lastErr = now, now, why
}

// Status returns what there is to know about the tunnel.
func (h *Handle) Status() Status {
	s := h.pool.status()
	s.Lazy = h.set.Lazy
	if h.jump != nil {
		s.ProxyJump = h.jump.cfg.Name
	}
	return s
}

func (p *pool) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		Tunnel: p.cfg.Name, State: p.state(), Hosts: p.cfg.Addresses(), User: p.cfg.User,
		Connections:   []ConnectionStatus{},
		ChannelsTotal: p.counters.Opened.Load() + p.counters.Accepted.Load(),
		Received:      p.counters.Received.Load(), Sent: p.counters.Sent.Load(),
		Since: p.history.since, LastError: p.history.lastErr,
	}
	if s.State == StateUp {
		s.Host = p.failback.inUse.Address
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
	if s.State == StateDown || s.State == StateReconnecting {
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
func (p *pool) state() State {
	switch {
	case len(p.active()) > 0:
		return StateUp
	case p.retry.state == retryFailed:
		return StateDown
	case !p.wanted():
		return StateIdle
	case !p.history.lostAt.IsZero() || len(p.present()) > 0:
		return StateReconnecting
	default:
		return StateConnecting
	}
}

// ClassDraining is the class of a connection that takes no more channels.
const ClassDraining = "draining"

// class is what a connection is for, in a word. The caller holds pool.mu.
func (m *member) class() string {
	switch {
	case m.isDraining():
		return ClassDraining
	case m.carries == Request:
		return "requests"
	case m.carries == Stream:
		return "streams"
	case m.carries.isApart():
		return "lookups"
	default:
		return "any"
	}
}

// classNames are all that class returns.
var classNames = []string{"requests", "streams", "lookups", "any", ClassDraining}

// status is the connection's. The caller holds pool.mu.
func (m *member) status() ConnectionStatus {
	received, sent := m.client.Traffic()
	c := ConnectionStatus{
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
