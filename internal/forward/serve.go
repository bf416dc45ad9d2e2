package forward

import (
	"errors"
	"net"
	"time"

	"go.uber.org/zap"
)

const (
	// minAcceptDelay and maxAcceptDelay bound the wait after an error of
	// Accept's. It doubles with each in a row.
	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second
)

// Serve forwards what a listener accepts, as the function Serve does.
func (f *Forwarder) Serve(ln net.Listener) error {
	return Serve(ln, func() *Forwarder { return f })
}

// Serve accepts connections and has each forwarded, in a goroutine of its own,
// by whom current returns at the time. It returns net.ErrClosed when the
// listener is closed, and leaves the connections alone. Other errors, such as
// too many open files, may pass: it waits a little and goes on.
func Serve(ln net.Listener, current func() *Forwarder) error {
	delay := time.Duration(0)
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return net.ErrClosed
		}
		if err != nil {
			if delay == 0 {
				current().logger().Warn("accepting connections failed; will retry", zap.Stringer("address", ln.Addr()), zap.Error(err))
			}
			delay = min(max(2*delay, minAcceptDelay), maxAcceptDelay)
			time.Sleep(delay)
			continue
		}
		delay = 0
		go current().Forward(conn)
	}
}
