package pool

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// Settings are what may change about a tunnel while it is connected. Those of
// the newest configuration are in force.
type Settings struct {
	// Logger is where the tunnel's state changes go. If nil, nowhere.
	Logger *zap.Logger

	// Observer, if not nil, gets what happens to the tunnel.
	Observer report.Observer

	// KeyMemory is where host keys are remembered; see connect.Config.AcceptNewHostKey.
	// If nil, none is, and one that is new is refused.
	KeyMemory hostkey.Memory

	// KeyStore is where the keys of "identity auto" are; see sshauth.Identity. If nil, a
	// tunnel with one is down.
	KeyStore sshauth.KeyStore

	// ConnectTimeout bounds one connect to one hop: TCP, key exchange and
	// authentication. If zero, 10s.
	ConnectTimeout time.Duration

	// ServerAliveInterval is how long the bastion may be silent before it is
	// probed. If zero or negative, it is not.
	ServerAliveInterval time.Duration

	// ServerAliveCountMax is how many probes in a row may stay unanswered
	// before the connection is closed. If zero or negative, 3.
	ServerAliveCountMax int

	// ReconnectMin and ReconnectMax bound the delay before a reconnect. If
	// zero, 250ms and 30s.
	ReconnectMin, ReconnectMax time.Duration

	// DrainTimeout is how long the channels of a replaced connection, or of a
	// tunnel that no configuration has any more, may go on. If zero, 1h; if
	// negative, they may not.
	DrainTimeout time.Duration

	// Linger is how long a tunnel that no configuration has any more, and that
	// has no open channel, keeps its connections: the last requests may still
	// dial. If zero, 10s; if negative, not at all.
	Linger time.Duration

	// ReturnAfter is how long a host before the one in use must have answered
	// again for the tunnel to return to it: it is probed this often, and must
	// answer twice. If zero, 30s.
	ReturnAfter time.Duration

	// RekeyBytes is after how many bytes, both ways together, a connection is
	// replaced. If zero, or above it, 32 GiB: x/crypto/ssh must never have to
	// rekey by itself, and 32 GiB in the smallest packets are fewer than 2^30.
	RekeyBytes int64

	// RekeyInterval is after how long a connection is replaced. If zero, never.
	RekeyInterval time.Duration

	// MinConnections is how many connections are kept, MaxConnections how many
	// there are at most. If zero, 1, and 8 or MinConnections if that is more. Up
	// to MaxConnections they are opened as channels need them, and closed when
	// none does.
	MinConnections, MaxConnections int

	// Lazy tunnels connect at first use, and not again before the next.
	Lazy bool

	// LazyTimeout is after how long without a channel a lazy tunnel disconnects. If
	// zero, it does not.
	LazyTimeout time.Duration
}

// pace is how long an attempt to connect may take, and the delays between attempts.
func (s *Settings) pace() connect.Pace {
	return connect.Pace{Timeout: s.ConnectTimeout, Delay: connlimit.Delay{Min: s.ReconnectMin, Max: s.ReconnectMax}}
}

// WithDefaults returns the settings with the defaults that Settings documents. It is for
// settings that have none yet: of those that have, zero means zero.
func (s Settings) WithDefaults() Settings {
	if s.Logger == nil {
		s.Logger = zap.NewNop()
	}
	if s.ConnectTimeout <= 0 {
		s.ConnectTimeout = 10 * time.Second
	}
	if s.ServerAliveCountMax <= 0 {
		s.ServerAliveCountMax = 3
	}
	if s.ReconnectMin <= 0 {
		s.ReconnectMin = 250 * time.Millisecond
	}
	if s.ReconnectMax <= 0 {
		s.ReconnectMax = 30 * time.Second
	}
	s.ReconnectMax = max(s.ReconnectMax, s.ReconnectMin)
	switch {
	case s.DrainTimeout == 0:
		s.DrainTimeout = time.Hour
	case s.DrainTimeout < 0:
		s.DrainTimeout = 0
	}
	switch {
	case s.Linger == 0:
		s.Linger = 10 * time.Second
	case s.Linger < 0:
		s.Linger = 0
	}
	if s.ReturnAfter <= 0 {
		s.ReturnAfter = 30 * time.Second
	}
	s.MinConnections = max(s.MinConnections, 1)
	if s.MaxConnections <= 0 {
		s.MaxConnections = 8
	}
	s.MaxConnections = max(s.MaxConnections, s.MinConnections)
	if s.RekeyBytes <= 0 || s.RekeyBytes > maxRekeyBytes {
		s.RekeyBytes = maxRekeyBytes
	}
	return s
}

// maxRekeyBytes is when a connection is replaced at the latest; see
// Settings.RekeyBytes.
const maxRekeyBytes = 32 << 30
