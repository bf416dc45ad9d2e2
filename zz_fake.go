package sshtunnel

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// fakeTunnel is a dialer that records its targets. Unless it is told otherwise
// it dials them by itself.
type fakeTunnel struct {
	Permission // anything, unless it is set
	generation atomic.Uint64
	open       atomic.Int64 // channels

	// wrap, if not nil, changes the channels.
	wrap func(Channel) Channel

	mu      sync.Mutex
	targets []tunnel.Target
	routes  map[string]string // from a target's address to one that can be dialed
	err     error             // what dials fail with
	moved   chan struct{}
}

// Dial implements dialer.
func (f *fakeTunnel) Dial(ctx context.Context, target tunnel.Target) (Channel, error) {
	target, err := f.Permit(target)
	if err != nil {
		return nil, err
	}
	target.Unwanted = nil // which differs from dial to dial
	f.mu.Lock()
	f.targets = append(f.targets, target)
	err, address := f.err, target.Address
	if to, ok := f.routes[address]; ok {
		address = to
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, target.Network, address)
	if err != nil {
		return nil, &tunnel.OpenError{Tunnel: "fake", Target: target.Address, Reason: tunnel.OpenRefused}
	}
	f.open.Add(1)
	var ch Channel = &countedChannel{Channel: conn.(Channel), count: &f.open}
	if f.wrap != nil {
		ch = f.wrap(ch)
	}
	return ch, nil
}

// Generation implements dialer.
func (f *fakeTunnel) Generation() uint64 { return f.generation.Load() }

// Moved implements dialer. It is never closed, for most tests have pools learn
// of a generation by the next request; move closes it.
func (f *fakeTunnel) Moved(uint64) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.moved == nil {
		f.moved = make(chan struct{})
	}
	return f.moved
}

// move begins a generation and says so.
func (f *fakeTunnel) move() {
	f.generation.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.moved != nil {
		close(f.moved)
	}
	f.moved = nil
}

// fail makes dials fail; with nil they no longer do.
func (f *fakeTunnel) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// dialed returns the targets so far.
func (f *fakeTunnel) dialed() []tunnel.Target {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]tunnel.Target(nil), f.targets...)
}

// countedChannel counts itself until it is closed.
type countedChannel struct {
	Channel
	count *atomic.Int64
	once  sync.Once
}

func (c *countedChannel) Close() error {
	c.once.Do(func() { c.count.Add(-1) })
	return c.Channel.Close()
}

// lostChannel ends as a channel does whose link is lost.
type lostChannel struct{ Channel }

func (c lostChannel) Read(p []byte) (int, error) {
	n, err := c.Channel.Read(p)
	if err == io.EOF {
		err = &net.OpError{Op: "read", Net: "tcp", Err: io.ErrUnexpectedEOF}
	}
	return n, err
}

// permitting returns the permission to dial what the patterns match.
func permitting(t *testing.T, patterns ...string) Permission {
	t.Helper()
	p, err := NewPermission("prod", patterns)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
