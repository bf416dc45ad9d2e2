package bind

// handover.go contains what happens when a configuration takes over an
// address on the bastion from the one before it. Caddy starts the new one, and
// stops the old right after that. It holds its lock meanwhile, so nothing here
// waits.

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// other returns the listener that another configuration has for the address, or
// nil. As a configuration is loaded that is the one before, or the one that comes.
func (b binding) other() (l *boundListener) {
	bindings.Range(func(key, value any) bool {
		o := key.(binding)
		if o.handle != b.handle && o.tunnel == b.tunnel && o.address == b.address {
			l = value.(*boundListener)
		}
		return l == nil
	})
	return l
}

// succeed takes over the address from the listener of the configuration before,
// if there is one.
//
// A tunnel that has not changed has one forward for both configurations, and the
// newer listener gets the connections already. One that has changed gets the
// address only when the old one lets go of it. Until it is connected, and can ask
// for it, the old one goes on listening, for this configuration.
func (l *boundListener) succeed(before *boundListener) error {
	if before == nil || before.binding.handle.Key() == l.binding.handle.Key() {
		return nil
	}
	old := before.binding.handle.Another() // the configuration before closes its own
	ln, err := old.Listen(l.binding.address.Network, l.binding.address.Address)
	if err != nil {
		old.Close()
		return err
	}
	old.Start()
	go l.pump(ln)
	go l.letGo(old, ln, time.Now().Add(old.DrainTimeout()))
	return nil
}

// letGo ends the listening of the old tunnel. It returns when the new one is
// connected, when the old one would have drained, or when l is closed. Then the
// configuration that follows has the old one still.
func (l *boundListener) letGo(old *tunnel.Handle, ln *remote.Listener, at time.Time) {
	ctx, cancel := context.WithDeadline(l.ctx, at)
	defer cancel()
	l.awaitConnected(ctx)
	if next := l.binding.other(); l.ctx.Err() != nil && next != nil {
		go next.letGo(old, ln, at)
		return
	}
	_ = ln.Close()
	old.Close()
}

// awaitConnected waits until the tunnel is connected, or ctx ends.
func (l *boundListener) awaitConnected(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.binding.handle.Connect(ctx)
		if err == nil {
			return
		}
		again := time.Second
		if down, ok := errors.AsType[*tunnel.DownError](err); ok {
			again = max(again, down.RetryAfter)
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
		}
	}
}
