// Package tunnel is what a configuration sees of a tunnel. A Handle is one configuration's
// hold on it; all handles with the same Key share a pool of SSH connections, which lives on
// through reloads. It opens no channel and makes no connection itself: package pool does. It
// knows nothing of Caddy. Packages config, dialer, forward and those above import it.
//
//	h := tunnel.Open(cfg, settings, nil)
//	defer h.Close()
//	h.Start()
//	conn, err := h.Dial(ctx, tunnel.Target{Network: "tcp", Address: "web.internal:80"})
//
// # States
//
// A Handle begins to serve with Start, and ends with Close: what still dials through it may
// until DrainTimeout has passed.
//
//	opened --Start--> started --Close--> closed --DrainTimeout--> ended
//	   |                                                           ^
//	   +---------------------------Close---------------------------+
//
// A pool is held while a handle or a dial has it. Then it ends, once its channels have and
// Linger has passed. Package pool has its states.
package tunnel
