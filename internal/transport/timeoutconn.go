package transport

import (
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
)

// timeoutConn is a channel whose every read and write is bounded. CloseWrite
// remains, without which an upgraded stream could only end as a whole.
type timeoutConn struct {
	dialer.Channel
	read, write time.Duration // if zero, unbounded
}

// Read implements net.Conn.
func (c *timeoutConn) Read(p []byte) (int, error) {
	if c.read > 0 {
		if err := c.SetReadDeadline(time.Now().Add(c.read)); err != nil {
			return 0, err
		}
	}
	return c.Channel.Read(p)
}

// Write implements net.Conn.
func (c *timeoutConn) Write(p []byte) (int, error) {
	if c.write > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
			return 0, err
		}
	}
	return c.Channel.Write(p)
}
