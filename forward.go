package sshtunnel

// forward.go opens a configuration's forwards: local ones (ssh -L) and dynamic
// ones (ssh -D) listen here, remote ones (ssh -R) on the bastion. They start and
// stop with the configuration.

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/listen"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// rawConns are the connections that the listener wrapper and the forwards have
// taken. They outlive their configuration, hence one registry for the process.
var rawConns = new(forward.Registry)

// trackConn registers a raw connection, to be closed when the process exits.
// Call done once it has ended. At exit it is closed at once.
func trackConn(conn io.Closer) (done func()) { return rawConns.Track(conn) }

// openForward is a forward that listens.
type openForward struct {
	// serve makes it take connections, in the background. It is called once at
	// most, and not after stop.
	serve func()
	// stop makes it listen no more. It leaves connections alone.
	stop func()
}

// openForwards opens all forwards of a tunnel. In case of an error it returns
// those that are open.
func (t *openTunnel) openForwards() (opened []openForward, err error) {
	add := func(option string, f openForward, openErr error) {
		if openErr == nil {
			opened = append(opened, f)
		} else {
			err = cmp.Or(err, fmt.Errorf("%s: %w", option, openErr))
		}
	}
	for _, f := range t.LocalForwards {
		open, err := t.openLocal(f)
		add("local_forward", open, err)
	}
	for _, f := range t.DynamicForwards {
		open, err := t.openDynamic(f)
		add("dynamic_forward", open, err)
	}
	for _, f := range t.RemoteForwards {
		open, err := t.openRemote(f)
		add("remote_forward", open, err)
	}
	return opened, err
}

// openLocal opens a local forward: listening here, dialing the target from the
// bastion.
func (t *openTunnel) openLocal(f config.ResolvedForward) (openForward, error) {
	return openHere(f, t.forwarder(f, dialer.For(t.dialer(), f.Target)))
}

// openDynamic opens a dynamic forward: listening here, dialing from the bastion
// what the clients name.
func (t *openTunnel) openDynamic(f config.ResolvedForward) (openForward, error) {
	socks := &forward.SOCKS5{
		Users: f.Users,
		Dial: func(ctx context.Context, client net.Conn, address string) (net.Conn, error) {
			return dialer.For(t.dialer(), tunnel.Target{Network: "tcp", Address: address, ByClient: true})(ctx, client)
		},
	}
	fwd := t.forwarder(f, socks.Connect)
	fwd.DialTimeout = socks.DialTimeout()
	return openHere(f, fwd)
}

// openHere listens on this machine.
func openHere(f config.ResolvedForward, fwd *forward.Forwarder) (openForward, error) {
	lease, err := listen.Open(f.Listen, fwd)
	if err != nil {
		return openForward{}, err
	}
	return openForward{lease.Serve, lease.Stop}, nil
}

// openRemote opens a remote forward: listening on the bastion, dialing the
// target from here. It does not wait for the bastion.
func (t *openTunnel) openRemote(f config.ResolvedForward) (openForward, error) {
	ln, err := t.handle.Listen(f.Listen.Network, f.Listen.Address)
	t.remote = append(t.remote, ln)
	if err != nil {
		return openForward{}, err
	}
	fwd := t.forwarder(f, func(ctx context.Context, _ net.Conn) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, f.Target.Network, f.Target.Address)
	})
	return openForward{
		serve: func() { go serveRemote(fwd, ln) },
		stop:  func() { _ = ln.Close() },
	}, nil
}

// serveRemote accepts connections. It returns when the listener is closed.
func serveRemote(fwd *forward.Forwarder, ln net.Listener) {
	_ = fwd.Serve(ln) // it says that the listener is closed
}

// forwarder returns what forwards the connections.
func (t *openTunnel) forwarder(f config.ResolvedForward, dial dialer.Func) *forward.Forwarder {
	fwd := &forward.Forwarder{
		Dial:   dial,
		Target: f.Target.Address,
		Logger: t.logger,
		Track:  trackConn,
	}
	f.Apply(fwd)
	return fwd
}

// openForwards opens the forwards of all tunnels, or none. They do not
// take connections yet: a configuration that cannot start must not keep any
// from the one before it.
func (a *App) openForwards() error {
	for _, t := range a.opened {
		opened, err := t.openForwards()
		a.forwards = append(a.forwards, opened...)
		if err != nil {
			a.stopForwards()
			return fmt.Errorf("tunnel %q: %w", t.Config.Name, err)
		}
	}
	return nil
}

// serveForwards makes them take connections.
func (a *App) serveForwards() {
	for _, f := range a.forwards {
		f.serve()
	}
}

// stopForwards stops their listening. Connections go on. It may be called
// again.
func (a *App) stopForwards() {
	for _, f := range a.forwards {
		f.stop()
	}
	a.forwards = nil
}
