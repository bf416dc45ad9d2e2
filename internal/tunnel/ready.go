package tunnel

import (
	"context"
	"fmt"
	"net"
)

// Connect waits, as Dial does, until the tunnel has a connection, and opens no
// channel. A lazy tunnel connects. Errors are those of Dial.
func (h *Handle) Connect(ctx context.Context) error { return h.connect(ctx, false) }

// connect is Connect; a patient one waits as dial says.
func (h *Handle) connect(ctx context.Context, patient bool) error {
	select {
	case <-h.opened:
	case <-ctx.Done():
		return &TimeoutError{Tunnel: h.cfg.Name, Doing: "waiting for the configuration to start", Cause: context.Cause(ctx)}
	}
	e, release, err := h.hold()
	if err != nil {
		return err
	}
	defer release()
	m, err := e.pick(ctx, &placement{line: lineKey{class: anyClass}, patient: patient})
	if err != nil {
		return err
	}
	e.channelEnded(m) // the place for a channel that pick has counted
	return nil
}

// Established waits until the bastion listens, or has refused to for longer
// than a port may be held by the connection before. A listener that was refused
// goes on asking.
func (l *Listener) Established(ctx context.Context) error {
	f := l.forward
	p := f.pool
	for {
		p.mu.Lock()
		outcome, closed, changed := f.outcome, l.closed || p.ctx.Err() != nil, p.changed
		p.mu.Unlock()
		switch {
		case closed:
			return net.ErrClosed
		case outcome != nil:
			return outcome.err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &TimeoutError{Tunnel: p.cfg.Name, Doing: fmt.Sprintf("waiting for the bastion to listen on %q", f.address), Cause: context.Cause(ctx)}
		}
	}
}

// outcome is what the bastion has answered to a forward, last: nil if it
// listens.
type outcome struct{ err error }

// answered records an outcome.
func (f *forward) answered(err error) {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	f.outcome = &outcome{err}
	f.pool.broadcast()
}
