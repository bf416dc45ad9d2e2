// Package pool keeps the SSH connections of one tunnel, and opens channels through them: it
// places channels, lets dials wait in line, adds connections and replaces them, drains them,
// and fails over between hosts. Package connect makes its connections, package remote makes
// the bastion listen, and package renewal watches its files. It does not find the pool of a
// configuration, and does not know when the last one has gone: its Owner does. Package tunnel
// imports it.
//
// # States
//
// A Pool has four small state machines, each changed in one file. What dials get while
// there is no connection (retry.go):
//
//	pending --an attempt fails--> failed
//	   ^                            |
//	   +---------connected----------+
//
// Whether channels wait for one more connection (grow.go):
//
//	possible --an attempt for one more fails--> failed
//	    ^                                         |
//	    +------------a new connection-------------+
//
// What a connection carries (place.go):
//
//	any --a first channel--> requests --a stream shares it, or a transfer--> streams
//	 ^ \--------------------------------------------------------------------^  |
//	 +----------------------------- its last channel ends ---------------------+
//
// The return to a host before the one in use (failback.go):
//
//	off --another host in use--> watching --one answers twice--> returning
//	 ^                             |   ^                             |
//	 +----first in use, or lost----+   +-----returned, or failed-----+
//
// A member of a pool is one SSH connection: active, stalled while the bastion does not
// respond, draining once another has taken its place, and lost.
package pool
