package tunnel

import (
	"net"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
)

// forwardBacklog is how many connections to a forward wait to be accepted.
// More are refused: x/crypto reads nothing from a connection whose channel
// opens are not taken.
const forwardBacklog = 128

// maxInbound is how many connections to forwards one SSH connection carries at a
// time, those that wait included. More are refused: each costs a few goroutines,
// a connection to the target or a place in a server, and up to 4 MiB of what the
// bastion may send before anybody reads it, and a bastion could open them without
// end. sshd under systemd's default limit of files has room for as many.
const maxInbound = 1024

// maxOpenPayload is how much a channel open of the bastion's may bring, in bytes:
// x/crypto keeps it for as long as the channel lives. The longest that makes sense has
// the path of a socket, or two addresses.
const maxOpenPayload = 4 << 10

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

// inbound is a channel that the bastion has opened for a forward and that
// nobody has accepted yet. It is one of the connection's channels. The bastion
// sends nothing on it before it is accepted, so one that waits costs little.
type inbound struct {
	link          *member
	forward       *forward
	open          ssh.NewChannel
	local, remote net.Addr
}

// takeForwarded takes a channel that a forward is to get, or that it is to
// refuse. It is false if nobody has asked for the channel.
func (m *member) takeForwarded(open ssh.NewChannel) bool {
	if len(open.ExtraData()) > maxOpenPayload {
		return false
	}
	in := &inbound{link: m, open: open}
	var a remoteAddress
	switch open.ChannelType() {
	case "forwarded-tcpip":
		var p forwardedTCPIP
		if ssh.Unmarshal(open.ExtraData(), &p) != nil || p.Port > 65535 || p.OriginatorPort > 65535 {
			return false
		}
		a = remoteAddress{host: p.Host, port: uint16(p.Port)}
		in.remote = hostAddr(p.OriginatorHost, p.OriginatorPort)
		in.local = a.addrFor(in.remote)
	case "forwarded-streamlocal@openssh.com":
		var p forwardedStreamLocal
		if ssh.Unmarshal(open.ExtraData(), &p) != nil || p.SocketPath == "" {
			return false
		}
		a = remoteAddress{path: p.SocketPath}
		// A client of a socket has no address; "@" is Go's word for that.
		in.local, in.remote = a.addr(), &net.UnixAddr{Net: "unix", Name: "@"}
	default:
		return false
	}
	return m.pool.enqueue(a, in)
}

// enqueue queues a channel for the forward of an address, or refuses it if the
// queue is full. It is false if there is no such forward.
func (p *pool) enqueue(a remoteAddress, in *inbound) bool {
	p.mu.Lock()
	f := p.forwardAt(a)
	if f == nil {
		p.mu.Unlock()
		return false
	}
	in.forward = f
	in.link.channels++
	in.link.inbound++
	// Those of a connection that has died meanwhile must not take the place.
	f.queue = slices.DeleteFunc(f.queue, func(o *inbound) bool { return o.link.client.IsDone() })
	open, waiting := in.link.inbound, len(f.queue)
	crowded := open > maxInbound
	if f.newest() != nil && len(f.queue) < forwardBacklog && !crowded {
		f.queue = append(f.queue, in)
		f.turn.Broadcast()
		p.mu.Unlock()
		return true
	}
	level := zap.DebugLevel
	if f.newest() != nil {
		level, _ = f.overflows.Level(zap.WarnLevel, "full", 1)
	}
	p.mu.Unlock()
	if level > zap.DebugLevel {
		message := "refused a connection to a remote forward: too many wait to be accepted"
		if crowded {
			message = "refused a connection to a remote forward: the bastion has opened too many"
		}
		p.log().Log(level, message, zap.Stringer("listen", f.address), zap.Int("open", open), zap.Int("waiting", waiting))
	}
	in.refuse()
	return true
}

// forwardAt returns the forward for an address as the bastion tells it. sshd
// says it as it was asked for; a server that says it in other words is
// believed if only one forward has the port. The caller holds mu.
func (p *pool) forwardAt(a remoteAddress) *forward {
	if f := p.forwards[a]; f != nil || a.path != "" {
		return f
	}
	var found *forward
	for b, f := range p.forwards {
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
	_ = in.open.Reject(ssh.ResourceShortage, "nobody accepts it") // fails only if the link is dead
	in.end()
}

// end takes the channel off the count.
func (in *inbound) end() {
	in.link.inboundEnded()
	in.link.pool.channelEnded(in.link)
}

// inboundEnded counts a connection to a forward out.
func (m *member) inboundEnded() {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	m.inbound--
}

// accept returns the connection of the channel, and opens that in the background.
// It returns nil if the connection has died.
func (in *inbound) accept() *Conn {
	l := in.link
	if l.client.IsDone() {
		in.end()
		return nil
	}
	l.pool.counters.accepted.Add(1)
	in.forward.count(1)
	return l.client.Accept(in.open, in.local, in.remote, func() {
		in.forward.count(-1)
		l.inboundEnded()
	})
}

// count counts the connections that were accepted.
func (f *forward) count(n int) {
	f.pool.mu.Lock()
	defer f.pool.mu.Unlock()
	f.connections += n
}
