//go:build linux

package e2e

import (
	"context"
	"errors"
	"io"
	"net"

	"golang.org/x/net/proxy"
)

// matrix_forwards_test.go is the traffic of dynamic_forward and remote_forward.

// visitorPort is where the bastion listens for the remote_forward.
const visitorPort = 9001

// fromThere are the kinds that begin at the bastion and lead here, with none of
// its targets in them.
const fromThere = "bind, remote_forward"

// dynamicForward exchanges bytes through the SOCKS5 server.
func (r *rig) dynamicForward(o *operation) error {
	conn, err := o.dialBy(local(r.socks))
	if err != nil {
		return err
	}
	through, err := proxy.SOCKS5("tcp", local(r.socks), nil, dialed{conn})
	if err == nil {
		_, err = through.(proxy.ContextDialer).DialContext(context.Background(), "tcp", "echo.internal:7")
	}
	if err != nil {
		_ = conn.Close()
		return err
	}
	return o.exchangeRaw(conn)
}

// dialed is a dialer to where it is connected already.
type dialed struct{ conn net.Conn }

func (d dialed) Dial(string, string) (net.Conn, error) { return d.conn, nil }

func (d dialed) DialContext(context.Context, string, string) (net.Conn, error) { return d.conn, nil }

// remoteForward is a visitor's download through the bastion's port.
func (r *rig) remoteForward(o *operation) error {
	return r.fetch(o, "http://"+r.b.outside(visitorPort), "")
}

// exchangeRaw exchanges bytes on a connection that has no framing, and closes it.
func (o *operation) exchangeRaw(conn *net.TCPConn) error {
	defer func() { _ = conn.Close() }()
	if err := o.exchange(conn); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return short("a proper end before all had come back")
		}
		return err
	}
	return endsWell(conn)
}
