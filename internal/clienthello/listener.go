package clienthello

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

const (
	// closedMatchTimeout bounds what is left of the time to match once the listener
	// is closed.
	closedMatchTimeout = 5 * time.Second

	// abandonedTimeout is how long a connection waits thereafter for an Accept.
	abandonedTimeout = time.Second
)

// matchingListener sorts out what matches of what it accepts.
//
// Each connection waits for its match in a goroutine of its own, so that none
// holds up another. There may be as many as there are connections, as in the
// HTTP server: a silent one takes some 12 KiB, and none more than 64 KiB.
//
// A reload closes the listener while some connections wait for their match.
// They are not lost: those that match are taken, and the others handed to the
// listener of the new configuration.
type matchingListener struct {
	net.Listener
	matchers Matchers
	take     func(net.Conn) // takes what matches
	logger   *zap.Logger
	place    *Place

	closing   sync.Once
	closed    chan struct{} // by Close
	abandoned chan struct{} // nobody accepts what is left, long after Close
	passed    chan accepted // closed after the last
	err       error         // what Accept returns then

	// ctx is done when there is no more time to match.
	ctx       context.Context
	interrupt context.CancelFunc

	mu       sync.Mutex
	ended    bool           // no connection comes any more
	matching sync.WaitGroup // not added to once ended
}

// accepted is a result of Accept.
type accepted struct {
	conn net.Conn
	err  error
}

// NewListener returns a listener that gives take the connections that match,
// and accepts the others. It belongs to a configuration, which owner identifies.
func NewListener(ln net.Listener, matchers Matchers, owner any, take func(net.Conn), logger *zap.Logger) net.Listener {
	l := &matchingListener{
		Listener:  ln,
		matchers:  matchers,
		take:      take,
		logger:    logger,
		closed:    make(chan struct{}),
		abandoned: make(chan struct{}),
		passed:    make(chan accepted),
	}
	l.ctx, l.interrupt = context.WithCancel(context.Background())
	l.place = Register(ln.Addr(), owner, l.adopt)
	go l.acceptAll()
	return l
}

// Accept returns the next connection that does not match, whatever it is. It
// is to be called until it fails for good.
func (l *matchingListener) Accept() (net.Conn, error) {
	a, ok := <-l.passed
	if !ok {
		return nil, l.err
	}
	return a.conn, a.err
}

// Close closes the listener. Connections that are not decided yet go on to be
// matched, and Accept fails when there are no more.
func (l *matchingListener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	l.place.Unregister()
	return l.Listener.Close()
}

// acceptAll accepts connections and starts to match each. It returns when the
// listener is closed, or broken, and there is no connection left to match:
// closedMatchTimeout and abandonedTimeout later at most.
func (l *matchingListener) acceptAll() {
	defer close(l.passed)
	defer l.interrupt()
	for {
		conn, err := l.Listener.Accept()
		if err == nil {
			l.adopt(conn)
			continue
		}
		if !isTemporary(err) {
			l.err = err
			break
		}
		// The server waits before its next Accept, and so does this loop.
		select {
		case l.passed <- accepted{err: err}:
		case <-l.closed:
		}
	}

	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	patience := closedMatchTimeout
	if caddy.Exiting() {
		patience = 0 // a grace period is running, and the bytes have no use
	}
	defer time.AfterFunc(patience, l.interrupt).Stop()
	defer time.AfterFunc(patience+abandonedTimeout, func() { close(l.abandoned) }).Stop()
	l.matching.Wait()
}

// adopt starts to match a connection. It returns false if the listener has ended.
func (l *matchingListener) adopt(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.matching.Go(func() { l.match(conn) })
	return true
}

// match forwards a connection, or passes it on. It returns when either is under
// way.
func (l *matchingListener) match(conn net.Conn) {
	matched, whole, err := l.matchers.match(l.ctx, conn)
	if matched {
		go l.take(whole)
		return
	}
	l.logger.Debug("connection passed on", zap.Stringer("remote", conn.RemoteAddr()), zap.Error(err))
	select {
	case <-l.closed: // even if somebody accepts
	default:
		select {
		case l.passed <- accepted{conn: whole}:
			return
		case <-l.closed:
		}
	}
	l.leave(whole)
}

// leave passes a connection on once the listener is closed: to another listener or, if
// there is none, to the server that is shutting down. It closes a connection that nobody
// accepts.
func (l *matchingListener) leave(conn net.Conn) {
	if l.place.handOver(conn) {
		return
	}
	select {
	case l.passed <- accepted{conn: conn}:
	case <-l.abandoned:
		_ = conn.Close()
	}
}

// isTemporary reports, as the HTTP server decides it, whether Accept may be called
// again after err.
func isTemporary(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Temporary() //nolint:staticcheck // deprecated, but the HTTP server uses it
}
