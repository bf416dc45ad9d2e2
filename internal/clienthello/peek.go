package clienthello

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
)

const (
	// maxHelloBytes is how much is read of a client in search of its
	// ClientHello. It bounds the memory that a connection takes until then. A
	// real one is a tenth of it, and fits even in records of one byte.
	maxHelloBytes = 16 << 10

	// recordTypeHandshake is the first byte that a TLS client sends.
	recordTypeHandshake = 22
)

var (
	errHelloRead    = errors.New("ClientHello read") // ends the handshake that reads it
	errHelloTooLong = errors.New("no end of the ClientHello within 16KiB")
	errNotTLS       = errors.New("not TLS")
)

// peekHello reads conn's ClientHello, until ctx is done. It writes nothing.
// Whether there is one or not, whole is the connection with all of its bytes,
// to be used instead of conn.
func peekHello(ctx context.Context, conn net.Conn) (hello *tls.ClientHelloInfo, whole net.Conn, err error) {
	recording := &recordingConn{Conn: conn}
	server := tls.Server(recording, &tls.Config{
		MinVersion: tls.VersionTLS12, // of no concern here, as the handshake ends before
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			hello = h
			return nil, errHelloRead
		},
	})
	// The handshake's own context would cost a goroutine.
	err = interruptible(ctx, conn, func() error { return server.HandshakeContext(context.Background()) })

	whole = conn
	if len(recording.read) > 0 || recording.err != nil {
		whole = Replay(conn, recording.read, recording.err)
	}
	if hello == nil {
		return nil, whole, err
	}
	hello.Conn = whole
	return hello, whole, nil
}

// interruptible runs f, which reads and writes conn only until ctx is done.
// Afterwards conn has no deadline, as before.
func interruptible(ctx context.Context, conn net.Conn, f func() error) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	err := f()
	if !stop() {
		<-interrupted
		_ = conn.SetDeadline(time.Time{})
	}
	return err
}

// recordingConn keeps what is read, up to maxHelloBytes, and swallows what is
// written.
type recordingConn struct {
	net.Conn
	read []byte
	err  error // the connection's own, after read
}

func (c *recordingConn) Read(p []byte) (int, error) {
	room := maxHelloBytes - len(c.read)
	if room == 0 {
		return 0, errHelloTooLong
	}
	n, err := c.Conn.Read(p[:min(len(p), room)])
	c.read = append(c.read, p[:n]...)
	if err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.err = err
		}
		return n, err
	}
	if n > 0 && c.read[0] != recordTypeHandshake {
		return n, errNotTLS // known sooner than from a whole record's header
	}
	return n, nil
}

func (c *recordingConn) Write(p []byte) (int, error) { return len(p), nil }

// Replay returns a connection of which something has been read already, which is read
// first; then err, if it is not nil.
func Replay(conn net.Conn, read []byte, err error) net.Conn {
	return &replayingConn{Conn: conn, read: read, err: err}
}

// replayingConn is a connection of which something has been read already,
// which is read first.
type replayingConn struct {
	net.Conn
	read []byte
	err  error // if not nil, what comes after read
}

func (c *replayingConn) Read(p []byte) (int, error) {
	if len(c.read) > 0 {
		n := copy(p, c.read)
		if c.read = c.read[n:]; len(c.read) == 0 {
			c.read = nil // let go of the memory
		}
		return n, nil
	}
	if c.err != nil {
		return 0, c.err // a socket reports a reset only once
	}
	return c.Conn.Read(p)
}

// NetConn returns the connection beneath, for what that can do. See
// forward.Layer.
func (c *replayingConn) NetConn() net.Conn { return c.Conn }

// CloseWrite ends the writing direction, as an HTTP server does once a
// protocol was upgraded.
func (c *replayingConn) CloseWrite() error { return forward.CloseWrite(c.Conn) }
