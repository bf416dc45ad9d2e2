// Package report has what a tunnel reports: its status, its events, and the order in
// which the log and an observer get what happens. It finds nothing out and formats nothing.
// Package pool imports it, and those above for the types.
package report

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

// The classes of a connection in its status, and as a label of metrics.
const (
	ClassRequests = "requests"
	ClassStreams  = "streams"
	// ClassLookups is for looking up names that may take long.
	ClassLookups = "lookups"
	// ClassAny is that it carries neither requests nor streams.
	ClassAny = "any"
	// ClassDraining is that it takes no more channels.
	ClassDraining = "draining"
)

// Classes are all of them.
var Classes = []string{ClassRequests, ClassStreams, ClassLookups, ClassAny, ClassDraining}
