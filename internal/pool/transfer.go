package pool

import (
	"slices"
	"time"
)

// transfer.go keeps requests off the connections that large transfers use. An answer waits
// behind all that the bastion has sent of the transfers on its connection: up to 2 MiB of
// each, which is their channels' window (RFC 4254 section 5.2).

const (
	// transferTime is how long bytes have gone one way only, if that is a transfer: as
	// long as between two looks, which are not quite regular.
	transferTime = 900 * time.Millisecond
	// transferRate is how many bytes a second these are at least. Fewer hold up nobody.
	transferRate = 256 << 10
)

// isTransfer reports whether the channel carries a download or an upload that has gone
// on for about a second. A page is over sooner, and the next request goes the other way.
func (a *activity) isTransfer(now time.Time) bool {
	took := now.Sub(a.turned)
	return took >= transferTime && float64(a.moved) >= transferRate*took.Seconds()
}

// leaveToTransfers leaves a connection with transfers to them and to streams, if requests
// have another one without any, or may get one. The caller holds mu.
func (p *Pool) leaveToTransfers(m *member) {
	active := p.active()
	if m.carries != Request || m.transfers == 0 || !slices.Contains(active, m) || !p.mayCarryStreams() {
		return
	}
	calm := func(o *member) bool { return o != m && o.carries != Stream && o.transfers == 0 }
	grows := len(active) < p.set.MaxConnections && p.mayConnect() && p.growth.state != growthFailed
	if grows || slices.ContainsFunc(active, calm) {
		m.carries = Stream
		p.newGeneration()
	}
}
