package tunnel

// ForwardState is what a remote forward is like, in one word.
type ForwardState string

// The states of a remote forward.
const (
	// ForwardListening is that the bastion listens, as far as we know.
	ForwardListening ForwardState = "listening"
	// ForwardRefused is that the bastion refuses to. It is asked again.
	ForwardRefused ForwardState = "refused"
	// ForwardWaiting is that there is no connection, or no answer yet.
	ForwardWaiting ForwardState = "waiting"
)

// ForwardStatus is about an address that the bastion is to listen on for us.
type ForwardStatus struct {
	State ForwardState
	// Err is why the bastion refuses, if it does.
	Err error
	// Connections counts those to the address that are open.
	Connections int
}

// Status returns what there is to know about the forward that the listener is
// of. Listeners for the same address have it in common.
func (l *Listener) Status() ForwardStatus {
	l.forward.pool.mu.Lock()
	defer l.forward.pool.mu.Unlock()
	return l.forward.status()
}

// status is the forward's. The caller holds pool.mu.
func (f *forward) status() ForwardStatus {
	s := ForwardStatus{State: ForwardWaiting, Connections: f.connections}
	switch {
	case f.isListening():
		s.State = ForwardListening
	case len(f.pool.present()) == 0:
		// What an earlier connection was told is not what the next will be.
	case f.outcome != nil && f.outcome.err != nil:
		s.State, s.Err = ForwardRefused, f.outcome.err
	}
	return s
}

// isListening reports whether the bastion listens, as far as we know. The caller
// holds pool.mu.
func (f *forward) isListening() bool {
	return f.on != nil && f.on == f.granted && !f.on.client.IsDone()
}
