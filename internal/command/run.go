package command

// run.go contains what a command forwards: listeners, the tunnel, and
// the connections from the ones through the other.

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/terminal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// endTimeout is how long the connections may take to end with the command.
const endTimeout = 500 * time.Millisecond

// forwardRun is a running command.
type forwardRun struct {
	output  *output
	hops    []hop
	handles []*tunnel.Handle // one a hop, the destination's last
	bound   []boundForward

	conns forward.Registry // the clients
}

// boundForward is a forward and the listener that serves it. There may be two
// of a forward.
type boundForward struct {
	spec hostport.Forward
	ln   net.Listener
}

// listen listens on this machine.
func (r *forwardRun) listen(specs []hostport.Forward, configured sshconfig.Forwards) error {
	for _, spec := range specs {
		if spec.Kind == hostport.Remote {
			continue
		}
		listeners, err := listenLocal(spec, configured)
		if err != nil {
			return err
		}
		for _, ln := range listeners {
			r.bound = append(r.bound, boundForward{spec, ln})
		}
	}
	return nil
}

// listenRemote listens on the bastion.
func (r *forwardRun) listenRemote(ctx context.Context, specs []hostport.Forward) error {
	for _, spec := range specs {
		if spec.Kind != hostport.Remote {
			continue
		}
		ln, err := r.destination().Listen(spec.Listen.Network(), spec.Listen.Address())
		if err != nil {
			return listenError(spec, err)
		}
		r.bound = append(r.bound, boundForward{spec, ln})
		if err := ln.Established(ctx); err != nil {
			if ctx.Err() != nil {
				return terminal.ErrInterrupted
			}
			return listenError(spec, err)
		}
	}
	return nil
}

// destination is the tunnel to the last hop.
func (r *forwardRun) destination() *tunnel.Handle { return r.handles[len(r.handles)-1] }

// serve forwards what the listeners accept, and says so.
func (r *forwardRun) serve() {
	r.output.started()
	for _, b := range r.bound {
		f := r.forwarder(b.spec)
		r.output.line("%s", r.describe(b))
		// Returns when close has closed the listener.
		go func() { _ = f.Serve(b.ln) }()
	}
}

// forwarder connects the clients of a forward to its target.
func (r *forwardRun) forwarder(spec hostport.Forward) *forward.Forwarder {
	f := &forward.Forwarder{
		Target:  spec.Target.String(),
		Logger:  r.output.logger,
		Track:   r.conns.Track,
		OnOpen:  func(c forward.Connection) { r.output.line("%s", r.path(spec, c)) },
		OnClose: func(c forward.Connection) { r.output.closed(r.path(spec, c), c) },
	}
	dialTo := func(target tunnel.Target) dialer.Func {
		return dialer.For(dialer.New(r.destination(), dialer.Permission{}), target)
	}
	if spec.Kind == hostport.Remote {
		dialTo = dialer.FromHere
	}
	if spec.IsProxy() {
		socks := &forward.SOCKS5{Dial: func(ctx context.Context, client net.Conn, address string) (net.Conn, error) {
			return dialTo(tunnel.Target{Network: "tcp", Address: address})(ctx, client)
		}}
		f.Dial, f.DialTimeout, f.Target = socks.Connect, socks.DialTimeout(), ""
	} else {
		f.Dial = dialTo(tunnel.Target{Network: spec.Target.Network(), Address: spec.Target.Address()})
	}
	return f
}

// close ends everything. The lines about the connections' ends are printed
// before it returns, if those take no longer than endTimeout.
func (r *forwardRun) close() {
	r.output.end()
	for _, b := range r.bound {
		_ = b.ln.Close()
	}
	r.conns.End(0)
	select {
	case <-r.conns.Idle():
	case <-time.After(endTimeout):
	}
	closeHandles(r.handles)
}

// closeHandles closes them, the last hop first: its connection goes through those
// before it.
func closeHandles(handles []*tunnel.Handle) {
	for _, h := range slices.Backward(handles) {
		h.Close()
	}
}

// describe says what a listener forwards, as in
// "127.0.0.1:8008 -> sshserver -> web:80".
func (r *forwardRun) describe(b boundForward) string {
	listen := b.ln.Addr().String()
	switch b.spec.Kind {
	case hostport.Remote:
		target := b.spec.Target.String()
		if b.spec.IsProxy() {
			target = "anywhere from here (SOCKS5)"
		}
		return b.spec.Listen.String() + " on " + r.bastion() + " -> " + target
	case hostport.Dynamic:
		return listen + " -> " + r.bastion() + " -> anywhere (SOCKS5)"
	default:
		return listen + " -> " + r.bastion() + " -> " + b.spec.Target.String()
	}
}

// path says where a connection comes from and leads, as in
// "127.0.0.1:51234 -> sshserver -> web:80".
func (r *forwardRun) path(spec hostport.Forward, c forward.Connection) string {
	peer := c.Remote.String()
	if spec.Listen.Path != "" {
		peer = spec.Listen.Path // the peers of a socket have no address
	}
	return peer + " -> " + r.bastion() + " -> " + c.Target
}

// bastion names the hops.
func (r *forwardRun) bastion() string {
	var names []string
	for _, h := range r.hops {
		names = append(names, h.Alias)
	}
	return strings.Join(names, " -> ")
}
