package sshconn

import (
	"net"

	"golang.org/x/crypto/ssh"
)

// Accept returns the connection of a channel that the server opens, and confirms that
// in the background. ended is called when the channel has ended.
func (c *Client) Accept(open ssh.NewChannel, local, remote net.Addr, ended func()) *Conn {
	conn := newConn(c, local, remote)
	// Returns as serve does.
	go func() {
		defer ended()
		c.beginWrite()
		conn.setChannel(open.Accept())
		c.endWrite()
		c.serve(conn)
	}()
	return conn
}
