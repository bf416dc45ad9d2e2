package tunnel

import (
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/pool"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// The types below are aliases, so that whoever opens a tunnel and dials through it needs no
// other package.
type (
	// Config says where a tunnel connects and as whom, IdentityFile and Identity are
	// keys that it authenticates with.
	Config       = connect.Config
	IdentityFile = sshauth.IdentityFile
	Identity     = sshauth.Identity
	// Settings are what may change about a tunnel while it is connected. Those of the
	// newest started Handle are in force.
	Settings = pool.Settings
	// Target says where a channel leads, Class what it is for: Request or Stream.
	Target = pool.Target
	Class  = pool.Class
	// Conn is a channel as a net.Conn.
	Conn = sshconn.Conn

	// DownError is what a dial gets while the tunnel is down, FullError when it is full,
	// and TimeoutError when its time is over.
	DownError    = failure.DownError
	FullError    = failure.FullError
	TimeoutError = failure.TimeoutError
)

// The classes of channels.
const (
	Request = pool.Request
	Stream  = pool.Stream
)

// ErrClosed is what a dial gets through a Handle that was closed before it was started, and
// on a tunnel whose DrainTimeout has passed.
var ErrClosed = failure.ErrClosed
