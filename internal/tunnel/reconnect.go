package tunnel

// Reconnect replaces each connection by a new one, which takes over before the old
// one drains: what goes on through that one goes on. If there is none, the tunnel
// connects: soon, even after the bastion has refused us, since somebody may have fixed
// that there. It does not wait. As any other, the attempt waits for its slot.
//
// It returns ErrClosed if the tunnel has ended.
func (h *Handle) Reconnect() error {
	e, release, err := h.hold()
	if err != nil {
		return err
	}
	defer release()
	e.mu.Lock()
	links, active := e.present(), len(e.active())
	e.mu.Unlock()
	for _, l := range links {
		e.replace(l, reasonRequested, "requested")
	}
	if active == 0 {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.retry.force()
		e.wake()
	}
	return nil
}
