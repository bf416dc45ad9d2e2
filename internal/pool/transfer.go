package pool

import (
	"slices"
	"time"
)

// transfer.go keeps requests off the connections of large transfers. An answer waits behind
// all that the bastion has sent of these: up to 2 MiB, the window of each channel.

const (
	// transferTime is how long bytes go one way only, if that is a transfer.
	transferTime = 900 * time.Millisecond
	// transferRate is how many bytes a second these are at least. Fewer hold up nobody.
	transferRate = 512 << 10
)

// isTransfer reports whether the channel carries a download or an upload. A page is over
// before the next look, and the next request goes the other way.
func (a *activity) isTransfer(now time.Time) bool {
	took := now.Sub(a.turned)
	return took >= transferTime && float64(a.moved) >= transferRate*took.Seconds()
}

// leaveToTransfers leaves connections with transfers to them and to streams, where other
// requests use them as well, if there is one without for these, or asks for one. The caller
// holds mu.
func (p *Pool) leaveToTransfers() {
	active := p.active()
	calm := slices.ContainsFunc(active, func(m *member) bool { return m.carries != Stream && m.transfers == 0 })
	for _, m := range active {
		others := m.channels - m.held - m.quiet - m.transfers
		switch {
		case m.carries != Request || m.transfers == 0 || others <= 0 || !p.mayCarryStreams():
		case calm:
			m.carries = Stream
			p.newGeneration()
		case len(active) < p.set.MaxConnections:
			p.want(Request, "requests beside transfers")
		}
	}
}
