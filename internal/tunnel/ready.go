package tunnel

import "context"

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
