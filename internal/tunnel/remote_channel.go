package tunnel

import (
	"io"
	"net"
	"slices"
	"time"

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
// nobody has accepted yet. It is one of the link's channels. The bastion
// sends nothing on it before it is accepted, so one that waits costs little.
type inbound struct {
	link          *link
	forward       *forward
	open          ssh.NewChannel
	local, remote net.Addr
}

// takeForwarded takes a channel that a forward is to get, or that it is to
// refuse. It is false if nobody has asked for the channel.
func (l *link) takeForwarded(open ssh.NewChannel) bool {
	if len(open.ExtraData()) > maxOpenPayload {
		return false
	}
	in := &inbound{link: l, open: open}
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
	return l.entry.enqueue(a, in)
}

// enqueue queues a channel for the forward of an address, or refuses it if the
// queue is full. It is false if there is no such forward.
func (e *entry) enqueue(a remoteAddress, in *inbound) bool {
	e.mu.Lock()
	f := e.forwardAt(a)
	if f == nil {
		e.mu.Unlock()
		return false
	}
	in.forward = f
	in.link.channels++
	in.link.inbound++
	// Those of a link that has died meanwhile must not take the place.
	f.queue = slices.DeleteFunc(f.queue, func(o *inbound) bool { return o.link.wire.IsDead() })
	crowded := in.link.inbound > maxInbound
	if f.newest() != nil && len(f.queue) < forwardBacklog && !crowded {
		f.queue = append(f.queue, in)
		f.turn.Broadcast()
		e.mu.Unlock()
		return true
	}
	full := f.newest() != nil && time.Since(f.overflowAt) >= remindEvery
	if full {
		f.overflowAt = time.Now()
	}
	e.mu.Unlock()
	switch {
	case full && crowded:
		e.log().Warn("refused a connection to a remote forward: the bastion has opened too many",
			zap.Stringer("listen", f.address), zap.Int("open", maxInbound))
	case full:
		e.log().Warn("refused a connection to a remote forward: too many wait to be accepted",
			zap.Stringer("listen", f.address), zap.Int("waiting", forwardBacklog))
	}
	in.refuse()
	return true
}

// forwardAt returns the forward for an address as the bastion tells it. sshd
// says it as it was asked for; a server that says it in other words is
// believed if only one forward has the port. The caller holds mu.
func (e *entry) forwardAt(a remoteAddress) *forward {
	if f := e.forwards[a]; f != nil || a.path != "" {
		return f
	}
	var found *forward
	for b, f := range e.forwards {
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

// end has the channel count no more.
func (in *inbound) end() {
	in.link.inboundEnded()
	in.link.entry.channelEnded(in.link)
}

// inboundEnded counts a connection to a forward out.
func (l *link) inboundEnded() {
	l.entry.mu.Lock()
	defer l.entry.mu.Unlock()
	l.inbound--
}

// accept returns the connection of the channel, and opens that in the background.
// It returns nil if the link has died.
func (in *inbound) accept() *Conn {
	l := in.link
	if l.wire.IsDead() {
		in.end()
		return nil
	}
	l.entry.tally.accepts.Add(1)
	ch := &openingChannel{opened: make(chan struct{})}
	c := newConn(l, ch, nil, in.local, in.remote)
	c.forward = in.forward
	// Returns as serve does.
	go func() {
		defer l.inboundEnded()
		l.beginWrite()
		ch.open(in.open, c)
		l.endWrite()
		l.serve(c)
	}()
	return c
}

// openingChannel is a channel whose open has been accepted, and of which the bastion
// may not know yet: to say so is a write, which waits as long as the connection does.
// It can be used at once. What it is used for waits instead.
type openingChannel struct {
	// opened is closed when the bastion knows, or cannot. Channel, err and the requests
	// of the Conn are set before.
	opened chan struct{}
	ssh.Channel
	err error
}

// open confirms the channel to the bastion, which may ask something of c from then on.
func (o *openingChannel) open(channel ssh.NewChannel, c *Conn) {
	defer close(o.opened)
	if o.Channel, c.requests, o.err = channel.Accept(); o.err != nil {
		none := make(chan *ssh.Request)
		close(none)
		c.requests = none
	}
}

// wait returns nil once the channel is open.
func (o *openingChannel) wait() error {
	<-o.opened
	return o.err
}

// Read implements ssh.Channel.
func (o *openingChannel) Read(p []byte) (int, error) {
	if o.wait() != nil {
		return 0, io.EOF // as of a channel whose connection is lost
	}
	return o.Channel.Read(p)
}

// Write implements ssh.Channel.
func (o *openingChannel) Write(p []byte) (int, error) {
	if err := o.wait(); err != nil {
		return 0, err
	}
	return o.Channel.Write(p)
}

// CloseWrite implements ssh.Channel.
func (o *openingChannel) CloseWrite() error {
	if err := o.wait(); err != nil {
		return err
	}
	return o.Channel.CloseWrite()
}

// Close implements ssh.Channel.
func (o *openingChannel) Close() error {
	if err := o.wait(); err != nil {
		return err
	}
	return o.Channel.Close()
}

// request makes a global request and waits for its answer. It gives up, with
// errLinkLost, when the link dies or stop is closed: on a dying link the answer
// may never come, nor x/crypto say so.
func (l *link) request(stop <-chan struct{}, name string, payload []byte) (ok bool, err error) {
	if l.wire.IsDead() {
		return false, errLinkLost
	}
	type answer struct {
		ok  bool
		err error
	}
	answered := make(chan answer, 1)
	// It returns when the bastion has answered or the transport has died.
	go func() {
		l.beginWrite()
		defer l.endWrite()
		ok, _, err := l.conn.SendRequest(name, true, payload)
		answered <- answer{ok, err}
	}()
	select {
	case a := <-answered:
		return a.ok, a.err
	case <-l.wire.Dead():
	case <-stop:
	}
	return false, errLinkLost
}
