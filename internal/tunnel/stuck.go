package tunnel

// stuck.go is about channels that we have closed and the bastion has not. sshd closes
// a channel once the target has all that was sent to it: one that has stopped
// reading keeps it, and a place and a file of sshd's, for as long as it is there. SSH
// has nothing that would end such a channel but the end of its connection.

// stuckLimit is how many stuck channels a connection is replaced for, lest targets
// that have stopped reading take the room of those that have not.
const stuckLimit = easyChannels / 2

// live counts the channels that are not stuck: what a draining connection is kept
// for. The caller holds pool.mu.
func (m *member) live() int { return m.channels - m.stuck }

// tooStuck returns how many channels are stuck if they are too many, or 0.
func (m *member) tooStuck() int {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	if m.stuck < stuckLimit {
		return 0
	}
	return m.stuck
}
