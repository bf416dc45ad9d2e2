package sshtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// link.go is a network that a test breaks: which connections it has and
// what is done to them. link_pump.go moves their bytes.

// Direction is a way, or both ways, through a Link.
type Direction int

const (
	// Up is from the client to the target.
	Up Direction = 1 << iota
	// Down is from the target to the client.
	Down
	// Both is Up and Down.
	Both = Up | Down
)

// Link is a TCP relay on a loopback port. Its methods have taken effect when
// they return, for the connections it has and for those it will have.
type Link struct {
	addr   string
	ctx    context.Context // done when the link closes
	cancel context.CancelFunc
	wg     sync.WaitGroup
	trips  trips

	// mu guards what is below.
	mu        sync.Mutex
	listener  net.Listener // nil while connections are refused
	target    string
	frozen    Direction
	delay     time.Duration
	bandwidth int
	segment   int
	accepted  int
	moved     [2]int64 // bytes of connections that have ended, up and down
	conns     map[*linkConn]struct{}
}

// linkConn is one relayed connection.
type linkConn struct {
	client, target net.Conn
	up, down       *pump
}

// ListenLink starts a relay to the "host:port" target. It relays until Close.
func ListenLink(target string) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a link: %w", err)
	}
	l := &Link{
		addr:     listener.Addr().String(),
		listener: listener,
		target:   target,
		conns:    make(map[*linkConn]struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(func() { l.acceptLoop(listener) })
	return l, nil
}

// Addr returns the "host:port" to connect to instead of the target's.
func (l *Link) Addr() string { return l.addr }

// Accepted returns how many connections there have been.
func (l *Link) Accepted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted
}

// Active returns how many connections there are.
func (l *Link) Active() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Bytes returns how many bytes were relayed each way, over all connections.
func (l *Link) Bytes() (up, down int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	up, down = l.moved[0], l.moved[1]
	for c := range l.conns {
		up += c.up.bytes()
		down += c.down.bytes()
	}
	return up, down
}

// SetTarget relays new connections to another "host:port".
func (l *Link) SetTarget(target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = target
}

// Freeze stops the bytes, and the ends of streams, that go in a direction. The
// sockets stay open, new connections are accepted and freeze too. What senders
// go on to send waits in the link, at most 1 MiB a connection and direction,
// then in the kernel's buffers, and then the senders wait.
func (l *Link) Freeze(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen |= d
	l.applyLocked()
}

// Thaw undoes Freeze. No byte was lost.
func (l *Link) Thaw(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen &^= d
	l.applyLocked()
}

// SetDelay delays each byte by that much, in each direction.
func (l *Link) SetDelay(delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = delay
	l.applyLocked()
}

// SetBandwidth limits each direction of each connection to that many bytes a
// second. Zero is no limit.
func (l *Link) SetBandwidth(bytesPerSecond int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bandwidth = bytesPerSecond
	l.applyLocked()
}

// SetSegment sends the bytes in pieces of that size, each in a packet of its
// own unless the kernel is behind. Zero is as they come.
func (l *Link) SetSegment(bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segment = bytes
	l.applyLocked()
}

// applyLocked tells the pumps what holds now.
func (l *Link) applyLocked() {
	for c := range l.conns {
		c.up.set(l.frozen&Up != 0, l.delay, l.bandwidth, l.segment)
		c.down.set(l.frozen&Down != 0, l.delay, l.bandwidth, l.segment)
	}
}

// Cut ends the connections with a FIN to both peers, frozen or not. What was
// on its way is lost, and so is what the peers still send.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.up.cut()
		c.down.cut()
	}
}

// Reset ends the connections with an RST to both peers, frozen or not.
func (l *Link) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.abort()
	}
}

// Corrupt flips a bit of what comes next in a direction of each connection that
// there is.
func (l *Link) Corrupt(d Direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if d&Up != 0 {
			c.up.corrupt()
		}
		if d&Down != 0 {
			c.down.corrupt()
		}
	}
}

// Refuse closes the port: connects get ECONNREFUSED. The connections that
// there are go on.
func (l *Link) Refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		_ = l.listener.Close()
		l.listener = nil
	}
}

// Accept undoes Refuse. It panics if another process has taken the port.
func (l *Link) Accept() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil || l.ctx.Err() != nil {
		return
	}
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		panic(fmt.Sprintf("reopening the link at %s: %v", l.addr, err))
	}
	l.listener = listener
	l.wg.Go(func() { l.acceptLoop(listener) })
}

// Close ends the link and its connections, and returns once they have ended.
// It is idempotent.
func (l *Link) Close() error {
	l.cancel()
	l.Refuse()
	l.mu.Lock()
	for c := range l.conns {
		c.abort()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return nil
}

// acceptLoop takes connections. It returns when the listener is closed.
func (l *Link) acceptLoop(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // as when out of file descriptors
			time.Sleep(10 * time.Millisecond)
			continue
		}
		l.mu.Lock()
		l.accepted++
		target := l.target
		l.mu.Unlock()
		l.wg.Go(func() { l.relay(client, target) })
	}
}

// relay is one connection. It returns when the connection has ended.
func (l *Link) relay(client net.Conn, address string) {
	dialer := net.Dialer{Timeout: Patience}
	target, err := dialer.DialContext(l.ctx, "tcp", address)
	if err != nil {
		reset(client)
		return
	}
	c := &linkConn{client: client, target: target, up: newPump(client, target, &l.trips, Up), down: newPump(target, client, &l.trips, Down)}
	l.mu.Lock()
	if l.ctx.Err() != nil {
		l.mu.Unlock()
		c.abort()
		return
	}
	l.conns[c] = struct{}{}
	l.applyLocked()
	l.mu.Unlock()

	var wg sync.WaitGroup
	run := func(p, back *pump) {
		// A peer that is gone is news too: it waits for a thaw of the direction
		// in which it travels.
		wg.Go(func() {
			if !p.fill() {
				p.waitThawed()
				c.abort()
			}
		})
		wg.Go(func() {
			if !p.drain() {
				back.waitThawed()
				c.abort()
			}
		})
	}
	run(c.up, c.down)
	run(c.down, c.up)
	wg.Wait()
	_ = client.Close()
	_ = target.Close()

	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	l.moved[0] += c.up.bytes()
	l.moved[1] += c.down.bytes()
}

// abort ends the connection with an RST to both peers.
func (c *linkConn) abort() {
	reset(c.client)
	reset(c.target)
	c.up.stop()
	c.down.stop()
}

// reset closes a TCP connection with an RST.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
