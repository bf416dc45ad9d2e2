package sshtunnel

// dialer.go is the API for other plugins: connections through a tunnel, and the errors of
// dials.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialtimeout"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/permit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// dialTimeout limits a dial whose context has no deadline. It is that of forwards: after
// a reload, the tunnel may need a whole connect first.
const dialTimeout = 10 * time.Second

// Dialer opens connections through a tunnel. It belongs to one configuration. It is safe
// for concurrent use. Get one from LookupDialer or App.Dialer.
//
// A module gets its Dialer in Provision, and stops using it in Cleanup. A reload
// provisions a new module, which gets a Dialer of its own:
//
//   - If the reload does not change where and as whom the tunnel connects, both
//     Dialers use the same SSH connections, and open connections continue.
//   - What still runs in the old module can still dial, for the tunnel's
//     `drain_timeout` after Cleanup. Later dials fail with ErrClosed.
//   - Connections stay open after Cleanup. If the reload changes the tunnel, they
//     end with its `drain_timeout`. In Cleanup, close what lives longer than a
//     request.
type Dialer struct {
	name       string
	tunnel     dialer.Dialer
	forClients bool
}

// LookupDialer returns a Dialer for the named tunnel of the configuration that ctx
// belongs to. Call it in Provision, with the context that Provision gets. It opens no
// connection.
//
// It returns an error if no tunnel has the name, or if the configuration of the app
// `ssh_tunnel` has an error. A name cannot have placeholders.
func LookupDialer(ctx caddy.Context, name string) (*Dialer, error) {
	app, err := dialer.LookupApp(ctx, name)
	if err != nil {
		return nil, err
	}
	return app.(*App).Dialer(name)
}

// Dialer returns a Dialer for the named tunnel, or an error if no tunnel has the name. It
// is for modules that have the App; LookupDialer is for all others.
func (a *App) Dialer(name string) (*Dialer, error) {
	t, err := a.tunnel(name)
	if err != nil {
		return nil, err
	}
	return &Dialer{name: name, tunnel: t.dialer()}, nil
}

// ForClients returns a Dialer for targets that clients choose, for example by a
// placeholder in the target. The bastion looks up their names on separate SSH
// connections, so that a slow lookup delays nobody else. It returns an error if the tunnel
// has no `permit_open`: clients could then reach all that the bastion reaches.
func (d *Dialer) ForClients() (*Dialer, error) {
	if !d.tunnel.Restricts() {
		return nil, fmt.Errorf("tunnel %q: clients choose the targets; add permit_open to the tunnel, to say which", d.name)
	}
	return &Dialer{name: d.name, tunnel: d.tunnel, forClients: true}, nil
}

// DialContext opens a connection to a target, as the bastion sees it. The network is
// "tcp", with "host:port" as the address, or "unix", with the absolute path of a socket on
// the bastion. The bastion resolves the host, to addresses of either family: "tcp4" and
// "tcp6" are errors, as are all other networks. The port is a number.
//
// The dial waits for an SSH connection, for a place on one, and for the bastion's answer,
// until ctx ends. If ctx has no deadline, it waits for 10 seconds. In the queue of a full
// tunnel, the 10 seconds restart whenever the queue moves, up to a minute in all. If the
// tunnel's last attempt to connect has failed, the dial fails at once. Before the
// configuration has started, the dial waits for the start: do not dial in Provision. Once
// the connection is open, ctx has no effect on it.
//
// The connection has working deadlines and, as a *net.TCPConn has, the method CloseWrite:
//
//	conn.(interface{ CloseWrite() error }).CloseWrite()
//
// If the SSH connection is lost, reads and writes fail. A read returns io.EOF only if the
// target has ended the stream. The tunnel counts the connection as a stream, not as a
// request, when it places channels on its SSH connections.
//
// Errors are of type *net.OpError, as those of a net.Dialer, with Op "dial". One of these
// is within, for errors.As and errors.Is:
//
//   - *DownError: the tunnel has no SSH connection, and the last attempt failed.
//   - *FullError: all SSH connections are full.
//   - *DeniedError: `permit_open` does not permit the target.
//   - *RefusedError: the bastion cannot reach the target, or forbids it.
//   - *TimeoutError: the time is over; Timeout returns true.
//   - context.Canceled: ctx was canceled.
//   - ErrClosed: the configuration has ended.
//   - net.UnknownNetworkError: the network is neither "tcp" nor "unix".
//
// A malformed address is an error of no exported type.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	target, err := parseTarget(network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	target.Class, target.ByClient = tunnel.Stream, d.forClients
	conn, err := d.dial(ctx, target)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addrOf(target), Err: dialError(ctx, err)}
	}
	return conn, nil
}

// parseTarget returns the target at an address.
func parseTarget(network, address string) (tunnel.Target, error) {
	switch network {
	case "tcp":
		target, err := hostport.ParseTarget(address, hostport.Bastion)
		if err == nil && target.Network != network {
			err = fmt.Errorf("target %q is a socket; its network is unix", address)
		}
		return target, err
	case "unix":
		return hostport.ParseTarget("unix/"+address, hostport.Bastion)
	}
	return tunnel.Target{}, fmt.Errorf("%w: a tunnel dials tcp, where the bastion chooses the address family, and unix", net.UnknownNetworkError(network))
}

// addrOf returns the remote address that a connection to the target has.
func addrOf(target tunnel.Target) net.Addr {
	r, err := sshconn.NewRequest(target.Network, target.Address, netip.AddrPort{})
	if err != nil {
		return nil
	}
	return r.RemoteAddr()
}

// dial opens a channel. It opens none if ctx has ended.
func (d *Dialer) dial(ctx context.Context, target tunnel.Target) (net.Conn, error) {
	if ctx.Err() != nil {
		return nil, &failure.TimeoutError{Tunnel: d.name, Doing: fmt.Sprintf("opening channel to %q", target.Address), Cause: context.Cause(ctx)}
	}
	if _, ok := ctx.Deadline(); !ok {
		limited, cancel := dialtimeout.With(ctx, dialTimeout, fmt.Errorf("no answer within %s", dialTimeout))
		defer cancel()
		ctx = limited
	}
	conn, err := d.tunnel.Dial(ctx, target)
	if err != nil {
		return nil, err // and no nil in the interface
	}
	return conn, nil
}

// ErrClosed is within the error of a dial through a configuration that has ended: its
// `drain_timeout` has passed, or it was never started.
var ErrClosed = failure.ErrClosed

// DownError is the error of a dial while the tunnel has no SSH connection, after its last
// attempt to connect has failed. The dial has asked for another attempt.
//
// It does not unwrap to its cause, so that an error is a context.Canceled or a
// context.DeadlineExceeded only because of the dial's own context.
type DownError struct {
	// Tunnel is the name of the tunnel.
	Tunnel string
	// Cause says why the last attempt failed. It is text for people: its type may
	// change.
	Cause error
	// RetryAfter is the time until the next attempt, at least one second.
	RetryAfter time.Duration
}

// Error says which tunnel is down and why.
func (e *DownError) Error() string { return (*failure.DownError)(e).Error() }

// FullError is the error of a dial for which no SSH connection had room until its time was
// over. The tunnel's option `connections` limits their number.
type FullError struct {
	// Tunnel is the name of the tunnel.
	Tunnel string
	// Connections is the number of SSH connections, Max the greatest number permitted.
	Connections, Max int
	// Cause says why there are not Max connections, or is nil. It is text for people.
	Cause error
}

// Error says which tunnel is full, and which option to raise.
func (e *FullError) Error() string { return (*failure.FullError)(e).Error() }

// DeniedError is the error of a dial to a target that the tunnel's `permit_open` does not
// permit. The bastion does not see the attempt.
type DeniedError struct {
	// Tunnel is the name of the tunnel.
	Tunnel string
	// Target is "host:port", or "unix/" and the path of a socket.
	Target string
}

// Error says which tunnel does not permit which target.
func (e *DeniedError) Error() string { return (*permit.DeniedError)(e).Error() }

// TimeoutError is the error of a dial whose time was over before the bastion answered. It
// is also that of a dial whose target has answered none of many dials before, and of one
// whose SSH connection was lost again and again. It is a net.Error and a
// context.DeadlineExceeded.
type TimeoutError struct {
	// Tunnel is the name of the tunnel.
	Tunnel string
	// Doing says what the dial waited for, as in "opening channel to …".
	Doing string
	// Cause says how the wait ended. It is text for people.
	Cause error
}

// Error says what the dial waited for.
func (e *TimeoutError) Error() string { return (*failure.TimeoutError)(e).Error() }

// Timeout returns true.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary returns true.
func (e *TimeoutError) Temporary() bool { return true }

// Is reports whether target is context.DeadlineExceeded.
func (e *TimeoutError) Is(target error) bool { return target == context.DeadlineExceeded } //nolint:errorlint // Is does not unwrap

// RefusedReason is the reason that a server gives for refusing a channel: a code of RFC
// 4254 section 5.1.
type RefusedReason uint32

// The reasons for which a server refuses a channel.
const (
	// RefusedProhibited: the bastion forbids it (SSH_OPEN_ADMINISTRATIVELY_PROHIBITED),
	// for example by AllowTcpForwarding or PermitOpen of sshd.
	RefusedProhibited RefusedReason = 1
	// RefusedConnectFailed: the bastion could not connect to the target
	// (SSH_OPEN_CONNECT_FAILED). sshd also says so if it forbids a socket.
	RefusedConnectFailed RefusedReason = 2
	// RefusedUnknownType: the bastion does not know this type of channel
	// (SSH_OPEN_UNKNOWN_CHANNEL_TYPE). Some servers forward no sockets.
	RefusedUnknownType RefusedReason = 3
	// RefusedShortage: the bastion has no room for the channel (SSH_OPEN_RESOURCE_SHORTAGE).
	RefusedShortage RefusedReason = 4
)

// String returns the reason in words.
func (r RefusedReason) String() string {
	switch r {
	case RefusedProhibited:
		return string(failure.OpenProhibited)
	case RefusedConnectFailed:
		return string(failure.OpenFailed)
	case RefusedUnknownType:
		return string(failure.OpenUnsupported)
	case RefusedShortage:
		return string(failure.OpenShortage)
	}
	return fmt.Sprintf("reason %d", uint32(r))
}

// RefusedError is the error of a dial that the bastion has refused.
type RefusedError struct {
	// Tunnel is the name of the tunnel.
	Tunnel string
	// Target is "host:port" or the path of a socket.
	Target string
	// Reason is the reason that the bastion gave.
	Reason RefusedReason
	// Detail says more than the reason, for people. It may be empty.
	Detail string
	// Cause is what the bastion said about a failed connect, as a net.Dialer has it:
	// syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ETIMEDOUT or a *net.DNSError.
	// It is nil if the bastion did not say. errors.Is and errors.As find it.
	Cause error
}

// Error says what the bastion refused, and why.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("tunnel %q: opening channel to %q: %s", e.Tunnel, e.Target, cmp.Or(e.Detail, e.Reason.String()))
}

// Unwrap returns Cause.
func (e *RefusedError) Unwrap() error { return e.Cause }

// dialError returns an error of a dial as a plugin gets it. ctx is the plugin's.
func dialError(ctx context.Context, err error) error {
	switch e := err.(type) { //nolint:errorlint // the causes within are those of other dials
	case *failure.DownError:
		return (*DownError)(e)
	case *failure.FullError:
		return (*FullError)(e)
	case *permit.DeniedError:
		return (*DeniedError)(e)
	case *failure.OpenError:
		return openError(e)
	case *failure.TimeoutError:
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return (*TimeoutError)(e)
	}
	return err
}

// openError returns the error of a channel that was not opened.
func openError(e *failure.OpenError) error {
	refused := &RefusedError{Tunnel: e.Tunnel, Target: e.Target, Reason: RefusedConnectFailed, Detail: e.Why()}
	switch e.Reason {
	case failure.OpenPending: // it was not sent
		return &TimeoutError{Tunnel: e.Tunnel, Doing: fmt.Sprintf("opening channel to %q", e.Target), Cause: errors.New(e.Why())}
	case failure.OpenProhibited:
		refused.Reason = RefusedProhibited
	case failure.OpenUnsupported:
		refused.Reason = RefusedUnknownType
	case failure.OpenShortage:
		refused.Reason = RefusedShortage
	case failure.OpenRefused:
		refused.Cause = syscall.ECONNREFUSED
	case failure.OpenUnreachable:
		refused.Cause = syscall.EHOSTUNREACH
	case failure.OpenTimedOut:
		refused.Cause = syscall.ETIMEDOUT
	case failure.OpenUnknownName:
		host, _, _ := net.SplitHostPort(e.Target)
		refused.Cause = &net.DNSError{Err: e.Why(), Name: host}
	case failure.OpenFailed: // for a reason that the bastion does not say
	}
	return refused
}

// Interface guards
var _ net.Error = (*TimeoutError)(nil)
