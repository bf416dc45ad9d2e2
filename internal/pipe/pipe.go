// Package pipe copies between two connections until both have ended, and keeps the end of
// a stream apart from a cut. It opens no connection. Any package may import it.
package pipe

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// closeWriter is a connection that can be half-closed.
type closeWriter interface{ CloseWrite() error }

// Copy copies both ways between two connections until both directions have
// ended. A direction that ends half-closes the other side's connection. If
// one fails, both connections are closed, and reset where they can be, lest
// their peers take a stream that was cut for a complete one. It closes both in
// any case, without a reset if all went well, and returns the bytes copied and
// the error that ended it, if any.
func Copy(a, b net.Conn) (aToB, bToA int64, err error) {
	var (
		wg   sync.WaitGroup
		once sync.Once
	)
	half := func(dst, src net.Conn, n *int64) {
		var e error
		if *n, e = copyHalf(dst, src); e != nil {
			once.Do(func() {
				err = e
				abort(a)
				abort(b)
			})
		}
	}
	wg.Go(func() { half(b, a, &aToB) })
	half(a, b, &bToA)
	wg.Wait()
	if err == nil {
		orderly(a)
		orderly(b)
	}
	_ = a.Close()
	_ = b.Close()
	return aToB, bToA, err
}

// orderly lets a connection end properly that was set to be reset by its Close.
func orderly(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(-1)
	}
}

// channel is a connection that copies to and from another one by itself, with fewer
// copies and goroutines: an SSH channel.
type channel interface {
	io.WriterTo
	io.ReaderFrom
	AfterLost(f func(ended bool)) (stop func() bool)
}

// copyHalf copies from src to dst until src ends, and then half-closes dst.
func copyHalf(dst, src net.Conn) (n int64, err error) {
	from, isFrom := src.(channel)
	to, isTo := dst.(channel)
	switch {
	case isFrom:
		n, err = from.WriteTo(dst)
	case isTo:
		n, err = to.ReadFrom(src)
	default:
		n, err = copyAll(dst, src)
	}
	if err != nil {
		return n, err
	}
	cw, ok := dst.(closeWriter)
	if !ok {
		return n, dst.Close()
	}
	if err := cw.CloseWrite(); !errors.Is(err, syscall.ENOTCONN) {
		return n, err
	}
	return n, nil // dst's peer has left already, and wants no end
}

// copyAll copies from src to dst until src ends.
func copyAll(dst, src net.Conn) (n int64, err error) {
	size := wire.NewReadSize()
	for {
		k := wire.BufferFor(size.Next)
		read, readErr := src.Read(k.Data)
		if read > 0 {
			size.Adapt(read)
			var written int
			written, err = dst.Write(k.Data[:read])
			n += int64(written)
		}
		k.Release()
		switch {
		case err != nil:
			return n, err
		case errors.Is(readErr, io.EOF) && !errors.Is(readErr, io.ErrUnexpectedEOF):
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
}

// abort closes a connection, with a reset if it is TCP.
func abort(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
