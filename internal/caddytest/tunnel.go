// Package caddytest contains what tests of Caddy modules share: a tunnel that leads to
// loopback sockets, listeners that count, Caddyfiles as JSON. It starts no SSH server:
// package sshtest does. Only tests import it.
package caddytest

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Tunnel is a dialer that records its targets. It dials them by
// itself, unless routes or wrap say otherwise.
type Tunnel struct {
	dialer.Permission // anything, unless it is set
	GenerationNumber  atomic.Uint64
	OpenChannels      atomic.Int64 // channels

	// Wrap, if not nil, changes the channels.
	Wrap func(dialer.Channel) dialer.Channel

	mu      sync.Mutex
	targets []tunnel.Target
	Routes  map[string]string // from a target's address to one that can be dialed
	Err     error             // what dials fail with
	moved   chan struct{}
}

// Dial implements dialer.
func (f *Tunnel) Dial(ctx context.Context, target tunnel.Target) (dialer.Channel, error) {
	target, err := f.Permit(target)
	if err != nil {
		return nil, err
	}
	target.Unwanted = nil // which differs from dial to dial
	f.mu.Lock()
	f.targets = append(f.targets, target)
	err, address := f.Err, target.Address
	if to, ok := f.Routes[address]; ok {
		address = to
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, target.Network, address)
	if err != nil {
		return nil, &failure.OpenError{Tunnel: "fake", Target: target.Address, Reason: failure.OpenRefused}
	}
	f.OpenChannels.Add(1)
	var ch dialer.Channel = &countedChannel{Channel: conn.(dialer.Channel), count: &f.OpenChannels}
	if f.Wrap != nil {
		ch = f.Wrap(ch)
	}
	return ch, nil
}

// Generation implements dialer.
func (f *Tunnel) Generation() uint64 { return f.GenerationNumber.Load() }

// LazyTimeout implements dialer.
func (*Tunnel) LazyTimeout() time.Duration { return 0 }

// Key implements dialer.
func (*Tunnel) Key() string { return "fake" }

// Moved implements dialer. It is never closed, for in most tests pools learn
// of a generation by the next request; move closes it.
func (f *Tunnel) Moved(uint64) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.moved == nil {
		f.moved = make(chan struct{})
	}
	return f.moved
}

// Move begins a generation and says so.
func (f *Tunnel) Move() {
	f.GenerationNumber.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.moved != nil {
		close(f.moved)
	}
	f.moved = nil
}

// Fail makes dials fail; with nil they no longer do.
func (f *Tunnel) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Err = err
}

// Dialed returns the targets so far.
func (f *Tunnel) Dialed() []tunnel.Target {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]tunnel.Target(nil), f.targets...)
}

// countedChannel counts itself until it is closed.
type countedChannel struct {
	dialer.Channel
	count *atomic.Int64
	once  sync.Once
}

func (c *countedChannel) Close() error {
	c.once.Do(func() { c.count.Add(-1) })
	return c.Channel.Close()
}

// LostChannel ends as a channel does whose link is lost.
type LostChannel struct{ dialer.Channel }

func (c LostChannel) Read(p []byte) (int, error) {
	n, err := c.Channel.Read(p)
	if err == io.EOF {
		err = &net.OpError{Op: "read", Net: "tcp", Err: io.ErrUnexpectedEOF}
	}
	return n, err
}

// Permitting returns the permission to dial what the patterns match.
func Permitting(t *testing.T, patterns ...string) dialer.Permission {
	t.Helper()
	p, err := dialer.NewPermission("prod", patterns)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
