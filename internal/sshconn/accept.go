package sshconn

import (
	"io"
	"net"

	"golang.org/x/crypto/ssh"
)

// Accept returns the connection of a channel that the server opens, and confirms that
// in the background. ended is called when the channel has ended.
func (c *Client) Accept(open ssh.NewChannel, local, remote net.Addr, ended func()) *Conn {
	ch := &openingChannel{opened: make(chan struct{})}
	conn := newConn(c, ch, nil, local, remote)
	// Returns as serve does.
	go func() {
		defer ended()
		c.beginWrite()
		ch.open(open, conn)
		c.endWrite()
		c.serve(conn)
	}()
	return conn
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
