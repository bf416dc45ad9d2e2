package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// relay.go is a slow link: a relay whose connections share a bandwidth and a
// short queue each way, as they do at a router.

// linkSpeed is what a link is like, each way.
type linkSpeed struct {
	bandwidth float64       // bytes a second
	delay     time.Duration // from when a packet has left the queue
}

const (
	// packetSize is the most that is sent at once.
	packetSize = 1448
	// queueSize is how many packets wait for the link: 64 KiB. When it is full
	// it takes no more, rather than losing some: senders see a small window
	// instead of losses.
	queueSize = 64 << 10 / packetSize
	// relayWindow is the receive buffer of each connection, asked of the
	// kernel, which takes twice of it.
	relayWindow = 16 << 10
)

// relay is such a link on a loopback port.
type relay struct {
	addr     string
	target   string
	listener *net.TCPListener
	ctx      context.Context // done when the relay closes
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	ways     [2]relayWay // to the target, and back

	// mu guards conns.
	mu    sync.Mutex
	conns []net.Conn
}

// relayWay is one direction of the link.
type relayWay struct {
	speed  linkSpeed
	queue  chan packet // waits for the bandwidth
	flying chan packet // has left, and not yet arrived
}

// packet is some bytes for a connection; without any it is the end of them.
type packet struct {
	to      *net.TCPConn
	data    []byte
	sent    time.Time // by its sender
	arrival time.Time
}

// startRelay relays to the "host:port" target until close.
func startRelay(target string, speed linkSpeed) (*relay, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	if err := narrow(listener, relayWindow); err != nil {
		_ = listener.Close()
		return nil, err
	}
	r := &relay{addr: listener.Addr().String(), target: target, listener: listener}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for i := range r.ways {
		// What flies is bounded by bandwidth and delay; the channel has room for
		// packets that are not full.
		way := relayWay{speed: speed, queue: make(chan packet, queueSize), flying: make(chan packet, 16<<10)}
		r.ways[i] = way
		r.wg.Go(func() { way.send(r.ctx) })
		r.wg.Go(func() { way.deliver(r.ctx) })
	}
	r.wg.Go(r.accept)
	return r, nil
}

// close ends the relay and its connections, and returns once they have ended.
// It is idempotent.
func (r *relay) close() {
	r.cancel()
	_ = r.listener.Close()
	r.mu.Lock()
	for _, conn := range r.conns {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// accept takes connections. It returns when the relay is closed.
func (r *relay) accept() {
	for {
		near, err := r.listener.AcceptTCP()
		if err != nil {
			return
		}
		conn, err := new(net.Dialer).DialContext(r.ctx, "tcp", r.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		far := conn.(*net.TCPConn)
		r.mu.Lock()
		r.conns = append(r.conns, near, far)
		r.mu.Unlock()
		if r.ctx.Err() != nil { // close may not have seen them
			_ = near.Close()
			_ = far.Close()
		}
		r.wg.Go(func() { r.ways[0].fill(r.ctx, near, far) })
		r.wg.Go(func() { r.ways[1].fill(r.ctx, far, near) })
	}
}

// fill puts what a connection sends into the queue, and waits while that is
// full. It returns at the end of the connection, or of the relay.
func (w relayWay) fill(ctx context.Context, from, to *net.TCPConn) {
	for {
		buf := make([]byte, packetSize)
		n, err := from.Read(buf)
		if n > 0 && !pass(ctx, w.queue, packet{to: to, data: buf[:n], sent: time.Now()}) {
			return
		}
		if errors.Is(err, io.EOF) {
			pass(ctx, w.queue, packet{to: to, sent: time.Now()})
			return
		}
		if err != nil { // a reset is one to the other side as well
			_ = to.SetLinger(0)
			_ = to.Close()
			return
		}
	}
}

// send takes packets from the queue at the speed of the link. It returns when
// the relay is closed.
func (w relayWay) send(ctx context.Context) {
	var free time.Time // when the link has sent the packet before
	for {
		p, ok := take(ctx, w.queue)
		if !ok {
			return
		}
		// Not before now: what a sleep has taken too long is made up for.
		if free.Before(p.sent) {
			free = p.sent
		}
		free = free.Add(time.Duration(float64(len(p.data)) / w.speed.bandwidth * float64(time.Second)))
		sleepUntil(ctx, free)
		p.arrival = free.Add(w.speed.delay)
		if !pass(ctx, w.flying, p) {
			return
		}
	}
}

// deliver writes packets as they arrive. It returns when the relay is closed.
func (w relayWay) deliver(ctx context.Context) {
	for {
		p, ok := take(ctx, w.flying)
		if !ok {
			return
		}
		sleepUntil(ctx, p.arrival)
		// A connection that has failed is ended by its fill.
		if len(p.data) == 0 {
			_ = p.to.CloseWrite()
		} else {
			_, _ = p.to.Write(p.data)
		}
	}
}

// pass sends to a channel. It is false if the context is done.
func pass(ctx context.Context, to chan<- packet, p packet) bool {
	select {
	case to <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

// take receives from a channel. It is false if the context is done.
func take(ctx context.Context, from <-chan packet) (packet, bool) {
	select {
	case p := <-from:
		return p, true
	case <-ctx.Done():
		return packet{}, false
	}
}

// sleepUntil returns then, or when the context is done.
func sleepUntil(ctx context.Context, then time.Time) {
	left := time.Until(then)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
