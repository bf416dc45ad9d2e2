// Package dialer contains what other modules borrow of a tunnel: channels to the targets
// that permit_open permits. It opens no tunnel: it looks up one of the app's, which it
// does not import. All packages above tunnel may import it.
package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Channel is a connection through a tunnel.
type Channel interface {
	net.Conn
	CloseWrite() error
}

// Dialer opens channels through a tunnel, to the targets that are permitted.
// See tunnel.Handle, whose methods these are.
type Dialer interface {
	Permitter
	Dial(ctx context.Context, target tunnel.Target) (Channel, error)
	Generation() uint64
	Moved(gen uint64) <-chan struct{}
	LazyTimeout() time.Duration
	Key() string
}

// handleDialer is a tunnel's handle as a dialer.
type handleDialer struct {
	*tunnel.Handle
	Permission
}

// New returns what dials through a tunnel, to what is permitted.
func New(h *tunnel.Handle, p Permission) Dialer { return handleDialer{h, p} }

// Dial implements Dialer. Nothing is opened, and no connection waited for, for
// a target that is not permitted.
func (d handleDialer) Dial(ctx context.Context, target tunnel.Target) (Channel, error) {
	target, err := d.Permit(target)
	if err != nil {
		return nil, err
	}
	conn, err := d.Handle.Dial(ctx, target)
	if err != nil {
		return nil, err // and no nil *tunnel.Conn in the interface
	}
	return conn, nil
}

// Func is a forwarder's dial function.
type Func = func(ctx context.Context, client net.Conn) (net.Conn, error)

// For returns a forwarder's dial function: a channel to target for each
// client, who is its originator.
func For(tun Dialer, target tunnel.Target) Func {
	target.Class = tunnel.Stream
	return func(ctx context.Context, client net.Conn) (net.Conn, error) {
		to := target
		to.Originator = forward.AddrPort(client.RemoteAddr())
		return tun.Dial(ctx, to)
	}
}

// FromHere returns a forwarder's dial function that goes through no tunnel: the target
// is that of a remote forward.
func FromHere(target tunnel.Target) Func {
	return func(ctx context.Context, _ net.Conn) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, target.Network, target.Address)
	}
}

// Lookup returns what dials through the named tunnel of the configuration
// that ctx belongs to. It may be called from any module's Provision: the app is
// provisioned first if it has not been yet.
func Lookup(ctx caddy.Context, name string) (Dialer, error) {
	app, err := LookupApp(ctx, name)
	if err != nil {
		return nil, err
	}
	return ofApp(app, name)
}

// ofApp returns what dials through the named tunnel of an app.
var ofApp func(app caddy.App, name string) (Dialer, error)

// SetLookup sets what Lookup asks. The package of the app calls it in its init. A method of
// the app would be a part of the API that other plugins see.
func SetLookup(lookup func(app caddy.App, name string) (Dialer, error)) { ofApp = lookup }

// LookupApp returns the app that has the named tunnel, if there is such a tunnel. It refuses
// a name that CheckName refuses.
func LookupApp(ctx caddy.Context, name string) (caddy.App, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	app, err := App(ctx)
	if errors.Is(err, errNoApp) {
		return nil, fmt.Errorf("unknown tunnel %q; %w", name, err)
	}
	return app, err
}

// errNoApp is the error of a configuration without the app.
var errNoApp = errors.New("no tunnel is configured: add the global option ssh_tunnel")

// errTooEarly is the error of a module that Caddy loads before storage, or as such.
var errTooEarly = errors.New("storage and logs cannot go through a tunnel: Caddy needs them before any app")

// App returns the app of the configuration that ctx belongs to, which has been
// provisioned. It is an error if there is none.
func App(ctx caddy.Context) (caddy.App, error) {
	if len(ctx.Modules()) > 0 && ctx.Storage() == nil { // the app would have none either
		return nil, errTooEarly
	}
	app, err := ctx.AppIfConfigured("ssh_tunnel")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, errNoApp
	}
	if err != nil {
		return nil, err
	}
	return app.(caddy.App), nil
}

// UnknownTunnel is the error for a name that no tunnel has.
func UnknownTunnel(name string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("unknown tunnel %q; no tunnel is configured: add one to the global option ssh_tunnel", name)
	}
	return fmt.Errorf("unknown tunnel %q; configured: %s", name, strings.Join(names, ", "))
}

// CheckName refuses the name of a tunnel that could not be looked up
// when the configuration is loaded. (Nor could it differ between requests:
// http.Transport pools connections by the upstream's address alone.)
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("no tunnel given; name one of the global option ssh_tunnel")
	case redact.Path(name) != nil:
		return fmt.Errorf("tunnel's name: %w", redact.Check(name))
	case strings.Contains(name, "{"):
		return fmt.Errorf("tunnel %q: a tunnel's name cannot have placeholders", name)
	}
	return nil
}
