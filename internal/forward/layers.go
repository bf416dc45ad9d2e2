package forward

import "net"

// layered is a connection with what only some layer beneath it can do.
type layered struct{ net.Conn }

// end returns a connection as an end of a pipe: a channel itself, which knows how to copy.
func end(conn net.Conn) net.Conn {
	if _, ok := conn.(lossy); ok {
		return conn
	}
	return layered{conn}
}

// CloseWrite ends the writing direction.
func (c layered) CloseWrite() error { return CloseWrite(c.Conn) }

// CloseWrite ends the writing direction of a connection; of both, if no layer can do
// that. Layers above the one that can, such as the PROXY protocol's, must write
// through unchanged.
func CloseWrite(conn net.Conn) error {
	if l, ok := Layer[interface{ CloseWrite() error }](conn); ok {
		return l.CloseWrite()
	}
	return conn.Close()
}

// SetLinger of zero closes the socket at once, with a reset. The layers above
// it must not say their farewells: TLS would have the peer believe that it has
// got everything.
func (c layered) SetLinger(sec int) error {
	l, ok := Layer[interface {
		SetLinger(sec int) error
		Close() error
	}](c.Conn)
	if !ok {
		return nil
	}
	if err := l.SetLinger(sec); err != nil || sec != 0 {
		return err
	}
	return l.Close()
}

// reset closes conn in such a way that its peer sees an error.
func reset(conn net.Conn) {
	_ = layered{conn}.SetLinger(0)
	_ = conn.Close() // there may be no socket with a reset, such as in a pipe
}

// resetter resets a connection as it closes it: a TLS connection's own Close says
// its farewell first, for which it may wait seconds if the peer does not read.
type resetter struct{ net.Conn }

// Close implements io.Closer.
func (r resetter) Close() error {
	reset(r.Conn)
	return nil
}

// cutAtExit has the kernel reset the socket beneath a connection when this
// process ends, however it does. It would close it in good order otherwise, and
// a stream that was cut would look complete. SetLinger(-1) undoes that.
func cutAtExit(conn net.Conn) {
	if l, ok := Layer[interface{ SetLinger(sec int) error }](conn); ok {
		_ = l.SetLinger(0)
	}
}

// Layer returns the outermost layer of conn that is a T: what listener
// wrappers put around a connection may hide what it can do.
func Layer[T any](conn net.Conn) (l T, ok bool) {
	for {
		if l, ok = conn.(T); ok {
			return l, true
		}
		switch c := conn.(type) {
		case interface{ NetConn() net.Conn }: // TLS
			conn = c.NetConn()
		case interface{ Raw() net.Conn }: // the PROXY protocol
			conn = c.Raw()
		default:
			return l, false
		}
	}
}
