package sshtunnel

// forward.go contains the forwards of a tunnel: their configuration, and how
// they start and stop with it.

import (
	"cmp"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Forward is a local or a remote forward: raw connections from where it
// listens to a target at the tunnel's other end.
type Forward struct {
	// Where to listen: `[host:]port` or `unix//path`. Without a host it is the
	// loopback address, with `*` all addresses. Required.
	//
	// A local forward listens here. The address of a socket may end in its
	// permissions, as in `unix//path|0220`; they are 0200 if it does not. A
	// remote forward listens on the bastion, where GatewayPorts says whether
	// other hosts than loopback are allowed.
	Listen string `json:"listen"`

	// Where connections go: `host:port` or `unix//path`. That of a local forward
	// is resolved by the bastion, that of a remote one here. Required.
	Target string `json:"target"`

	ForwardOptions

	listen listenAddress
	target tunnel.Target
	ln     *tunnel.Listener // of a remote forward that is open
}

// errEmptyForward refuses a null in JSON.
var errEmptyForward = errors.New("empty; give it an address to listen on")

// provision checks the forward, which listens at one side and whose target is
// at the other.
func (f *Forward) provision(listenAt, targetAt side) (err error) {
	if f == nil {
		return errEmptyForward
	}
	r := new(resolver)
	listen, target := r.value("listen address", f.Listen), r.value("target", f.Target)
	if r.err != nil {
		return r.err
	}
	if f.listen, err = parseListen(listen, listenAt); err != nil {
		return err
	}
	if f.target, err = parseTargetAt(target, targetAt); err != nil {
		return err
	}
	return f.check()
}

// forwarder returns what forwards the connections.
func (f *Forward) forwarder(dial dialFunc, logger *zap.Logger) *forward.Forwarder {
	fwd := &forward.Forwarder{
		Dial:   dial,
		Target: f.target.Address,
		Logger: logger,
		Track:  trackConn,
	}
	f.apply(fwd)
	return fwd
}

// provisionForwards checks all forwards of a tunnel.
func (t *Tunnel) provisionForwards(logger *zap.Logger) error {
	t.logger = logger
	for _, f := range t.LocalForwards {
		if err := f.provision(here, onBastion); err != nil {
			return fmt.Errorf("local_forward: %w", err)
		}
		if err := checkPermitted(t.permission, f.target); err != nil {
			return fmt.Errorf("local_forward: %w", err)
		}
	}
	remote := make(map[string]bool)
	for _, f := range t.RemoteForwards {
		if err := f.provision(onBastion, here); err != nil {
			return fmt.Errorf("remote_forward: %w", err)
		}
		key := f.listen.String()
		if remote[key] {
			return fmt.Errorf("remote_forward: %q is listened on twice; keep one", f.Listen)
		}
		remote[key] = true
	}
	for _, f := range t.DynamicForwards {
		if err := f.provision(logger); err != nil {
			return fmt.Errorf("dynamic_forward: %w", err)
		}
	}
	return nil
}

// claimAddresses notes where the tunnel's forwards listen here, of which there
// may be one per address.
func (t *Tunnel) claimAddresses(name string, claimed map[string]string) error {
	claim := func(option string, a listenAddress) error {
		if by, ok := claimed[a.String()]; ok {
			return fmt.Errorf("tunnel %q: %s: %q is listened on already, by %s", name, option, a, by)
		}
		claimed[a.String()] = fmt.Sprintf("a %s of tunnel %q", option, name)
		return nil
	}
	for _, f := range t.LocalForwards {
		if err := claim("local_forward", f.listen); err != nil {
			return err
		}
	}
	for _, f := range t.DynamicForwards {
		if err := claim("dynamic_forward", f.listen); err != nil {
			return err
		}
	}
	return nil
}

// openForward is a forward that listens.
type openForward struct {
	// serve has it take connections, in the background. It is called once at
	// most, and not after stop.
	serve func()
	// stop has it listen no more. It leaves connections alone.
	stop func()
}

// openForwards has all forwards of a tunnel listen. In case of an error it
// returns those that do.
func (t *Tunnel) openForwards() (opened []openForward, err error) {
	add := func(f openForward, openErr error) {
		if openErr == nil {
			opened = append(opened, f)
		}
		err = cmp.Or(err, openErr)
	}
	tun := t.dialer()
	for _, f := range t.LocalForwards {
		add(f.openLocal(tun, t.logger))
	}
	for _, f := range t.DynamicForwards {
		add(f.open(tun, t.logger))
	}
	for _, f := range t.RemoteForwards {
		add(f.openRemote(t.h, t.logger))
	}
	return opened, err
}

// openForwards has the forwards of all tunnels listen, or none. They do not
// take connections yet: a configuration that cannot start must not keep any
// from the one before it.
func (a *App) openForwards() error {
	for _, t := range a.opened {
		opened, err := t.openForwards()
		a.forwards = append(a.forwards, opened...)
		if err != nil {
			a.stopForwards()
			return fmt.Errorf("tunnel %q: %w", t.config.Name, err)
		}
	}
	return nil
}

// serveForwards has them take connections.
func (a *App) serveForwards() {
	for _, f := range a.forwards {
		f.serve()
	}
}

// stopForwards has them listen no more. Connections go on. It may be called
// again.
func (a *App) stopForwards() {
	for _, f := range a.forwards {
		f.stop()
	}
	a.forwards = nil
}
