package remote

// testhooks.go is for the tests of packages pool and tunnel.

// Len returns how many forwards there are.
func (s *Forwards) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.forwards)
}

// Inbound returns how many connections to forwards an SSH connection has.
func (s *Forwards) Inbound(on Connection) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbound[on]
}

// Waiting returns how many connections wait to be accepted.
func (l *Listener) Waiting() int {
	l.forward.all.mu.Lock()
	defer l.forward.all.mu.Unlock()
	return len(l.forward.queue)
}
