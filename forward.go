package sshtunnel

// forward.go opens a configuration's forwards: local ones (ssh -L) and dynamic
// ones (ssh -D) listen here, remote ones (ssh -R) on the bastion. They start and
// stop with the configuration.

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/listen"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/rawconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// openForwards opens all forwards of a tunnel. In case of an error it returns
// those that are open.
func (t *openTunnel) openForwards() (opened []listen.Lease, err error) {
	for _, kind := range []struct {
		option   string
		forwards []config.ResolvedForward
		open     func(config.ResolvedForward) (listen.Lease, error)
	}{
		{"local_forward", t.LocalForwards, t.openLocal},
		{"dynamic_forward", t.DynamicForwards, t.openDynamic},
		{"remote_forward", t.RemoteForwards, t.openRemote},
	} {
		for _, f := range kind.forwards {
			lease, err := kind.open(f)
			if err != nil {
				return opened, fmt.Errorf("%s: %w", kind.option, err)
			}
			opened = append(opened, lease)
		}
	}
	return opened, nil
}

// openLocal opens a local forward: listening here, dialing the target from the
// bastion.
func (t *openTunnel) openLocal(f config.ResolvedForward) (listen.Lease, error) {
	return listen.Open(f.Listen, t.forwarder(f, dialer.For(t.dialer(), f.Target)))
}

// openDynamic opens a dynamic forward: listening here, dialing from the bastion
// what the clients name.
func (t *openTunnel) openDynamic(f config.ResolvedForward) (listen.Lease, error) {
	socks := &forward.SOCKS5{
		Users: f.Users,
		Dial: func(ctx context.Context, client net.Conn, address string) (net.Conn, error) {
			return dialer.For(t.dialer(), tunnel.Target{Network: "tcp", Address: address, ByClient: true})(ctx, client)
		},
	}
	fwd := t.forwarder(f, socks.Connect)
	fwd.DialTimeout = socks.DialTimeout()
	lease, err := listen.Open(f.Listen, fwd)
	if err != nil {
		return lease, err
	}
	if err := f.CheckReach(lease.Addr); err != nil {
		lease.Stop()
		return listen.Lease{}, err
	}
	return lease, nil
}

// openRemote opens a remote forward: listening on the bastion, dialing the
// target from here. It does not wait for the bastion.
func (t *openTunnel) openRemote(f config.ResolvedForward) (listen.Lease, error) {
	ln, err := t.handle.Listen(f.Listen.Network, f.Listen.Address)
	if err != nil {
		return listen.Lease{}, err
	}
	t.remote = append(t.remote, ln)
	fwd := t.forwarder(f, dialer.FromHere(f.Target))
	return listen.Lease{
		Serve: func() { go func() { _ = fwd.Serve(ln) }() }, // until stop
		Stop:  func() { _ = ln.Close() },
	}, nil
}

// forwarder returns what forwards the connections.
func (t *openTunnel) forwarder(f config.ResolvedForward, dial dialer.Func) *forward.Forwarder {
	fwd := &forward.Forwarder{
		Dial:   dial,
		Target: f.Target.Address,
		Logger: t.logger,
		Track:  rawconn.Open.Track,
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

// checkDescriptors refuses a configuration with a site and a forward that listen on the
// same inherited socket: a connection would go to either.
func (a *App) checkDescriptors() error {
	for _, site := range contract.SiteAddresses(a.ctx, hostport.InheritedNetwork) {
		address, err := hostport.ParseListen(site.Address.String(), hostport.Here)
		if err != nil {
			continue // Caddy refuses it
		}
		for _, t := range a.opened {
			if option := t.forwardAt(address); option != "" {
				return fmt.Errorf("tunnel %q: %s: %q is already in use by server %q; pass a socket to each", t.Config.Name, option, address, site.Server)
			}
		}
	}
	return nil
}

// forwardAt returns the option of the tunnel's forward that listens here at an address,
// or "".
func (t *openTunnel) forwardAt(address hostport.ListenAddress) string {
	listens := func(f config.ResolvedForward) bool { return f.Listen == address }
	switch {
	case slices.ContainsFunc(t.LocalForwards, listens):
		return "local_forward"
	case slices.ContainsFunc(t.DynamicForwards, listens):
		return "dynamic_forward"
	}
	return ""
}

// stopForwards stops their listening. Connections go on. It may be called
// again.
func (a *App) stopForwards() {
	for _, f := range a.forwards {
		f.Stop()
	}
	a.forwards = nil
}
