package remote

// State is what a remote forward is like, in one word.
type State string

// The states of a remote forward.
const (
	// Listening is that the bastion listens, as far as we know.
	Listening State = "listening"
	// Refused is that the bastion refuses to. It is asked again.
	Refused State = "refused"
	// Waiting is that there is no connection, or no answer yet.
	Waiting State = "waiting"
)

// Status is about an address that the bastion is to listen on for us.
type Status struct {
	State State
	// Err is why the bastion refuses, if it does.
	Err error
	// Connections counts those to the address that are open.
	Connections int
}

// Status returns what there is to know about the forward that the listener is of.
// Listeners for the same address have it in common.
func (l *Listener) Status() Status {
	f := l.forward
	f.all.mu.Lock()
	on := f.on
	f.all.mu.Unlock()
	connected := f.all.tunnel.ConnectionFor(on) != nil

	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	s := Status{State: Waiting, Connections: f.connections}
	switch {
	case f.isListening():
		s.State = Listening
	case !connected:
		// The answer on an earlier connection says nothing about the next one.
	case f.answer != nil && f.answer.err != nil:
		s.State, s.Err = Refused, f.answer.err
	}
	return s
}

// isListening reports whether the bastion listens, as far as we know. The caller holds
// mu.
func (f *forward) isListening() bool {
	return f.on != nil && f.on == f.granted && !f.on.Client().IsDone()
}
