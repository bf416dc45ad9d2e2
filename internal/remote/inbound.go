package remote

import (
	"net"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// Backlog is how many connections to a forward wait to be accepted.
// More are refused: x/crypto reads nothing from a connection whose channel
// opens are not taken.
const Backlog = 128

// MaxInbound is how many connections to forwards one SSH connection carries at a
// time, those that wait included. More are refused: each costs a few goroutines,
// a connection to the target or a place in a server, and up to 4 MiB of what the
// bastion may send before anybody reads it, and a bastion could open them without
// end. sshd under systemd's default limit of files has room for as many.
const MaxInbound = 1024

// MaxOpenPayload is how much a channel open of the bastion's may bring, in bytes:
// x/crypto keeps it for as long as the channel lives. The longest that makes sense has
// the path of a socket, or two addresses.
const MaxOpenPayload = 4 << 10

// forwardedTCPIP is the payload of a "forwarded-tcpip" open (RFC 4254 section
// 7.2).
type forwardedTCPIP struct {
	Host           string
	Port           uint32
	OriginatorHost string
	OriginatorPort uint32
}

// forwardedStreamLocal is the payload of a
// "forwarded-streamlocal@openssh.com" open (OpenSSH's PROTOCOL, section 2.4).
type forwardedStreamLocal struct {
	SocketPath string
	Reserved   string
}

// inbound is a channel that the bastion has opened for a forward and that nobody has
// accepted yet. It holds its connection. The bastion sends nothing on it before it is
// accepted, so one that waits costs little.
type inbound struct {
	on            Connection
	forward       *forward
	open          ssh.NewChannel
	local, remote net.Addr
}

// Take takes a channel that the bastion has opened on a connection, for a listener or
// to refuse it. It returns false if nobody has asked for the channel.
func (s *Forwards) Take(on Connection, open ssh.NewChannel) bool {
	if len(open.ExtraData()) > MaxOpenPayload {
		return false
	}
	in := &inbound{on: on, open: open}
	var a address
	switch open.ChannelType() {
	case "forwarded-tcpip":
		var p forwardedTCPIP
		if ssh.Unmarshal(open.ExtraData(), &p) != nil || p.Port > 65535 || p.OriginatorPort > 65535 {
			return false
		}
		a = address{host: p.Host, port: uint16(p.Port)}
		in.remote = hostAddr(p.OriginatorHost, p.OriginatorPort)
		in.local = a.addrFor(in.remote)
	case "forwarded-streamlocal@openssh.com":
		var p forwardedStreamLocal
		if ssh.Unmarshal(open.ExtraData(), &p) != nil || p.SocketPath == "" {
			return false
		}
		a = address{path: p.SocketPath}
		// A client of a socket has no address; "@" is Go's word for that.
		in.local, in.remote = a.addr(), &net.UnixAddr{Net: "unix", Name: "@"}
	default:
		return false
	}
	on.Hold() // before it can be accepted, and end
	if !s.enqueue(a, in) {
		on.Release()
		return false
	}
	return true
}

// enqueue queues a channel for the forward of an address, or refuses it if the queue is
// full. It is false if there is no such forward.
func (s *Forwards) enqueue(a address, in *inbound) bool {
	s.mu.Lock()
	f := s.forwardAt(a)
	if f == nil {
		s.mu.Unlock()
		return false
	}
	in.forward = f
	s.inbound[in.on]++
	// Those of a connection that has died meanwhile must not take the place.
	f.queue = slices.DeleteFunc(f.queue, func(o *inbound) bool {
		dead := o.on.Client().IsDone()
		if dead {
			s.countOut(o.on)
		}
		return dead
	})
	open, waiting, live := s.inbound[in.on], len(f.queue), f.newest() != nil
	crowded := open > MaxInbound
	accepts := live && waiting < Backlog && !crowded
	level := zap.DebugLevel
	switch {
	case accepts:
		f.queue = append(f.queue, in)
		f.turn.Broadcast()
	case live:
		level, _ = f.overflows.Level(zap.WarnLevel, "full", 1)
	}
	s.mu.Unlock()
	if level > zap.DebugLevel {
		message := "refused a connection to a remote forward: too many wait to be accepted"
		if crowded {
			message = "refused a connection to a remote forward: the bastion has opened too many"
		}
		s.tunnel.Log().Log(level, message, zap.Stringer("listen", f.address), zap.Int("open", open), zap.Int("waiting", waiting))
	}
	if !accepts {
		in.refuse()
	}
	return true
}

// forwardAt returns the forward for an address as the bastion tells it. sshd says it
// as it was asked for; a server that says it in other words is believed if only one
// forward has the port. The caller holds mu.
func (s *Forwards) forwardAt(a address) *forward {
	if f := s.forwards[a]; f != nil || a.path != "" {
		return f
	}
	var found *forward
	for b, f := range s.forwards {
		if b.path == "" && b.port == a.port {
			if found != nil {
				return nil
			}
			found = f
		}
	}
	return found
}

// refuse tells the bastion, and so the peer, that nobody takes the connection.
func (in *inbound) refuse() {
	_ = in.open.Reject(ssh.ResourceShortage, "nobody accepts it") // fails only if the SSH connection is dead
	in.end()
}

// end takes the channel off the counts.
func (in *inbound) end() {
	in.forward.all.inboundEnded(in.on)
	in.on.Release()
}

// inboundEnded counts a connection to a forward out.
func (s *Forwards) inboundEnded(on Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countOut(on)
}

// countOut is inboundEnded for callers that hold mu.
func (s *Forwards) countOut(on Connection) {
	if s.inbound[on]--; s.inbound[on] == 0 {
		delete(s.inbound, on)
	}
}

// accept returns the connection of the channel, and opens that in the background.
// It returns nil if the SSH connection has died.
func (in *inbound) accept() *sshconn.Conn {
	f, client := in.forward, in.on.Client()
	if client.IsDone() {
		in.end()
		return nil
	}
	f.all.accepted.Add(1)
	f.count(1)
	// The connection's owner releases it when the channel has ended.
	return client.Accept(in.open, in.local, in.remote, func() {
		f.count(-1)
		f.all.inboundEnded(in.on)
	})
}

// count counts the connections that were accepted.
func (f *forward) count(n int) {
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	f.connections += n
}
