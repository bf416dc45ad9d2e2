package sshtunnel

// listener_match.go finds the connections that the listener wrapper is to
// forward among those of a listener, and leaves the others to the HTTP server.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
)

const (
	// helloTimeout bounds the wait for a ClientHello. Who waits for the server
	// to speak first is not kept waiting for longer.
	helloTimeout = 5 * time.Second

	// siteHandshakeTimeout bounds the TLS handshake with a client that may be a
	// site's. It is what Caddy gives these by default: the site's certificate
	// may have to be obtained first.
	siteHandshakeTimeout = time.Minute

	// closedMatchTimeout bounds what of these is left once the listener is
	// closed.
	closedMatchTimeout = 5 * time.Second

	// abandonedTimeout is how long a connection waits thereafter for an Accept.
	abandonedTimeout = time.Second
)

// helloMatchers are what a ClientHello must match, all of them.
type helloMatchers []caddytls.ConnectionMatcher

// loadHelloMatchers loads the matchers of a listener wrapper.
func loadHelloMatchers(ctx caddy.Context, w *ListenerWrapper) (helloMatchers, error) {
	if w.MatchersRaw == nil {
		return nil, nil
	}
	if len(w.MatchersRaw) == 0 {
		return nil, errors.New("no matcher; leave match out to forward every connection")
	}
	loaded, err := ctx.LoadModule(w, "MatchersRaw")
	if err != nil {
		return nil, err
	}
	var matchers helloMatchers
	for name, module := range loaded.(map[string]any) {
		m, ok := module.(caddytls.ConnectionMatcher)
		if !ok {
			return nil, fmt.Errorf("%s is no matcher of TLS handshakes", name)
		}
		matchers = append(matchers, m)
	}
	return matchers, nil
}

// match tells whether a connection matches. It reads the ClientHello or, after
// the tls wrapper, does the handshake. What is no TLS, or not within the time
// there is for it, does not match, and err tells why. Matched or not, whole is
// to be used instead of conn.
func (ms helloMatchers) match(ctx context.Context, conn net.Conn) (matched bool, whole net.Conn, err error) {
	var hello *tls.ClientHelloInfo
	if c, ok := forward.Layer[interface{ ConnectionState() tls.ConnectionState }](conn); ok {
		ctx, cancel := context.WithTimeout(ctx, siteHandshakeTimeout)
		defer cancel()
		if err := handshake(ctx, conn); err != nil {
			return false, conn, err
		}
		hello, whole = helloOf(c.ConnectionState(), conn), conn
	} else {
		ctx, cancel := context.WithTimeout(ctx, helloTimeout)
		defer cancel()
		if hello, whole, err = peekHello(ctx, conn); err != nil {
			return false, whole, err
		}
	}
	mismatch := func(m caddytls.ConnectionMatcher) bool { return !m.Match(hello) }
	return !slices.ContainsFunc(ms, mismatch), whole, nil
}

// handshake does the TLS handshake that the tls wrapper leaves to be done,
// until ctx is done. It is not the handshake's own context: obtaining a
// certificate goes on though its client is gone.
func handshake(ctx context.Context, conn net.Conn) error {
	h, ok := forward.Layer[interface{ HandshakeContext(context.Context) error }](conn)
	if !ok {
		return nil // another wrapper must have done it
	}
	return interruptible(ctx, conn, func() error { return h.HandshakeContext(context.Background()) })
}

// helloOf returns what a connection tells of its ClientHello once the
// handshake is over: of the versions, ciphers and protocols, those chosen.
func helloOf(state tls.ConnectionState, conn net.Conn) *tls.ClientHelloInfo {
	hello := &tls.ClientHelloInfo{
		ServerName:        state.ServerName,
		SupportedVersions: []uint16{state.Version},
		CipherSuites:      []uint16{state.CipherSuite},
		Conn:              conn,
	}
	if state.NegotiatedProtocol != "" {
		hello.SupportedProtos = []string{state.NegotiatedProtocol}
	}
	return hello
}

// matchingListener forwards what matches of what it accepts.
//
// Each connection waits for its match in a goroutine of its own, so that none
// holds up another. There may be as many as there are connections, as in the
// HTTP server: a silent one takes some 12 KiB, and none more than 64 KiB.
//
// A reload closes the listener while some connections wait for their match.
// They are not lost: those that match are forwarded, and the others handed to
// the listener of the new configuration.
type matchingListener struct {
	*forwardingListener
	matchers helloMatchers

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

func newMatchingListener(ln *forwardingListener, w *ListenerWrapper) *matchingListener {
	l := &matchingListener{
		forwardingListener: ln,
		matchers:           w.matchers,
		closed:             make(chan struct{}),
		abandoned:          make(chan struct{}),
		passed:             make(chan accepted),
	}
	l.ctx, l.interrupt = context.WithCancel(context.Background())
	l.open = openListeners.open(ln.Addr(), w.config, l.adopt)
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
	return l.forwardingListener.Close()
}

// acceptAll accepts connections and has them matched. It returns when the
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

// adopt has a connection matched, unless it is too late for that.
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
		go l.forwarder.Forward(whole)
		return
	}
	l.forwarder.Logger.Debug("connection passed on", zap.Stringer("remote", conn.RemoteAddr()), zap.Error(err))
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

// leave passes a connection on once the listener is closed. It returns when
// another listener has it, or the server that is shutting down, for want of
// one; or when it has closed it, as nobody accepts it.
func (l *matchingListener) leave(conn net.Conn) {
	if openListeners.handOver(l.open, conn) {
		return
	}
	select {
	case l.passed <- accepted{conn: conn}:
	case <-l.abandoned:
		_ = conn.Close()
	}
}

// isTemporary tells, as the HTTP server does, whether Accept may be called
// again after err.
func isTemporary(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Temporary() //nolint:staticcheck // deprecated, but what the HTTP server goes by
}
