package sshconn

import (
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// testhooks.go is for the tests of packages that use this one.

// Transport returns the net.Conn below SSH.
func (c *Client) Transport() *wire.Conn { return c.transport }

// SetWaiting sets since when, on the transport's clock, something waits for the
// server.
func (c *Client) SetWaiting(since time.Duration) { c.waiting.since.Store(int64(since)) }

// Queued returns how many written bytes have not gone out.
func (c *Conn) Queued() int {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.size
}

// ClosedConn returns a channel that we have closed just now, and the server has not.
func ClosedConn(client *Client) *Conn {
	c := &Conn{client: client}
	c.closeSent.Store(int64(client.transport.Now()))
	return c
}

// SendClose sends the CLOSE at once, as if that was some time ago.
func (c *Conn) SendClose(ago time.Duration) {
	c.sendClose()
	c.closeSent.Add(-int64(ago))
}

// ClosedByPeer returns a channel that is closed when the server has closed c.
func (c *Conn) ClosedByPeer() <-chan struct{} { return c.closedByPeer }

// SetOwner is Start for a connection that serves nothing.
func (c *Client) SetOwner(owner Owner) { c.owner = owner }
