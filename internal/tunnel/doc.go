// Package tunnel keeps SSH connections to bastions and opens channels through
// them. It knows SSH and nothing of Caddy.
//
// A Handle is one configuration's hold on a tunnel; behind it stands an entry,
// which all handles with the same Key share and which owns the connections.
// From the outside in:
//
//	config.go, defaults.go, check.go
//	              Config and Settings; what ssh would do where nothing is written;
//	              what cannot work
//	handle.go     Handle: Open, Start, Dial, Close; Listen is in remote_listener.go
//	ready.go      Handle.Connect: waiting for a connection
//	registry.go   the entries of this process, by key
//	entry.go      entry: one tunnel's life, from the first handle to the last channel
//	maintain.go   the goroutine that keeps an entry connected
//	place.go      which connection a new channel opens on
//	queue.go, dialtimeout.go
//	              dials that wait for their turn, and for how long
//	crowded.go    opens that fail for want of files, or not
//	grow.go       when there is need for one more, and for which channels
//	watch.go      the goroutine that looks after the files that it depends on
//	keymode.go    private keys that others can read
//	renewal.go    connections whose certificate was renewed, or was not
//	balance.go    which channels the connections are for later on, and their end
//	takeover.go   putting a connection into service; replacing, draining and losing one
//	unused.go     a bastion that ends connections that nothing uses
//	hosts.go      its bastions: which to connect to, and returning to a preferred one
//	race.go       connecting to the first of several that answers
//	gate.go       a few connects at a time per bastion, and its failures
//	login.go      which attempts to log in share their failures
//	backoff.go    when to try again, by class of failure
//	hostkeys.go   whether the bastion is the one that is meant; see also
//	              knownhosts.go, hostcert.go, revoked.go and learned.go
//	connect.go    one connect: handshake, authentication, watchdog
//	leftover.go   ending what x/crypto leaves behind of a connection
//	link.go       link: one SSH connection
//	keepalive.go, probe.go
//	              probing a link, and closing it when it is dead
//	stall.go, lookup.go
//	              a link that does not respond for a while, and why
//	prohibited.go what the bastion prohibits, and how to apply a change there
//	open.go, openlimit.go
//	              opening a channel on a link, and how many at a time
//	stuck.go      channels that it does not close
//	remote.go, remote_listener.go, remote_channel.go, remote_address.go,
//	remote_status.go
//	              Listener: addresses that the bastion listens on for us
//	conn.go, deadline.go
//	              Conn: a channel as a net.Conn
//	sendqueue.go  what was written to it and has not gone out
//	pipe.go       copying between two connections
//
// What is told of it:
//
//	status.go     Status: all that there is to know at one moment
//	attempt.go    Attempt: how far a connect got, step by step
//	errors.go     what dials and connects return
//	event.go      Observer: what happens, when it does
//	tally.go, metrics.go
//	              counts, which outlive entries, and Metrics for Prometheus
//	reconnect.go  Handle.Reconnect, for who has seen enough
//	flaps.go      what is not told of a bastion that comes and goes
//	scan.go       a server's host keys, without logging in
//
// A Handle is used like this:
//
//	h := tunnel.Open(cfg, settings, nil)
//	defer h.Close()
//	h.Start()
//	conn, err := h.Dial(ctx, tunnel.Target{Network: "tcp", Address: "web.internal:80"})
package tunnel
