// Package tunnel keeps SSH connections to bastions and opens channels through them. A
// Handle is one configuration's hold on a tunnel; all handles with the same Key share a
// pool, which places channels, grows, replaces its connections, drains them and fails
// over between hosts. Package connect makes its connections, and package remote makes the
// bastion listen. It knows nothing of Caddy. Packages config, dialer, forward and those
// above import it.
//
//	h := tunnel.Open(cfg, settings, nil)
//	defer h.Close()
//	h.Start()
//	conn, err := h.Dial(ctx, tunnel.Target{Network: "tcp", Address: "web.internal:80"})
//
// # States
//
// A pool has four small state machines, each changed in one file. What dials get while
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
//	any --a first channel--> requests --a stream shares it--> streams
//	 ^ \-----------------------------------------------------^  |
//	 +-------------------- its last channel ends ---------------+
//
// The return to a host before the one in use (failback.go):
//
//	off --another host in use--> watching --one answers twice--> returning
//	 ^                             |   ^                             |
//	 +----first in use, or lost----+   +-----returned, or failed-----+
//
// A member of a pool is one SSH connection: active, stalled while the bastion does not
// respond, draining once another has taken its place, and lost.
package tunnel
