package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialtimeout"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// dial opens a channel to the upstream, or to its proxy. It is bounded by
// dial_timeout: the context that http.Transport gives has no deadline. It ends if
// its request has got another channel before it is its turn: what waits are dials
// that a request waits for, and no more than there are requests. The dial request says
// what to dial.
func (t *Transport) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	e := dialRequestFrom(ctx)
	target := e.target
	target.Unwanted = e.answered
	timeout := time.Duration(t.DialTimeout)
	ctx, cancel := dialtimeout.With(ctx, timeout, fmt.Errorf("no answer within dial_timeout (%s)", timeout))
	defer cancel()

	conn, err := t.tunnel.Dial(ctx, target)
	if err != nil {
		return nil, newDialError(err)
	}
	if t.ProxyProtocol != "" {
		// Which of our addresses the client came to is not known here.
		if err := forward.WriteProxyHeader(ctx, conn, t.ProxyProtocol, e.client, netip.AddrPort{}); err != nil {
			_ = conn.Close()
			return nil, newDialError(err)
		}
	}
	if t.ReadTimeout > 0 || t.WriteTimeout > 0 {
		conn = &timeoutConn{
			Channel: conn,
			read:    time.Duration(t.ReadTimeout),
			write:   time.Duration(t.WriteTimeout),
		}
	}
	return conn, nil
}

// dialTLS opens a channel and secures it. It returns a bare *tls.Conn, in which
// http.Transport sees the protocol that was negotiated.
func (t *Transport) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	e := dialRequestFrom(ctx)
	conn, err := t.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	cfg := t.Transport.TLSClientConfig.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	cfg.ServerName = e.tlsName(address)
	if e.http1Only {
		cfg.NextProtos = nil
	}
	if timeout := t.Transport.TLSHandshakeTimeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	secured := tls.Client(conn, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, newDialError(&handshakeError{err})
	}
	return secured, nil
}

// handshakeError is a failed TLS handshake.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake with upstream: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// dialError is a failed dial in Caddy's terms: errors.As finds a
// reverseproxy.DialError in it, so that it is retried whatever the method, and
// a caddyhttp.HandlerError with the status. It does not unwrap to its cause: a
// context.Canceled there would be taken for a client that has left.
type dialError struct {
	handler    caddyhttp.HandlerError
	retryAfter time.Duration // of a 503; zero otherwise
}

func newDialError(err error) *dialError {
	status, retryAfter := http.StatusBadGateway, time.Duration(0)
	down, isDown := errors.AsType[*tunnel.DownError](err)
	_, isFull := errors.AsType[*tunnel.FullError](err)
	timeout, mayBeTimeout := errors.AsType[net.Error](err)
	switch {
	case isDown:
		status, retryAfter = http.StatusServiceUnavailable, max(down.RetryAfter, time.Second)
	case isFull, errors.Is(err, tunnel.ErrClosed): // by then the configuration is another
		status, retryAfter = http.StatusServiceUnavailable, time.Second
	case mayBeTimeout && timeout.Timeout():
		status = http.StatusGatewayTimeout
	}
	return &dialError{caddyhttp.Error(status, errors.New(err.Error())), retryAfter}
}

func (e *dialError) Error() string { return e.handler.Err.Error() }

func (e *dialError) Unwrap() []error {
	return []error{reverseproxy.NewDialError(e.handler.Err), e.handler}
}

// retryAfterPlaceholder is when the tunnel will try to connect again, in whole
// seconds, for a Retry-After header in handle_errors.
const retryAfterPlaceholder = "http.reverse_proxy.ssh_tunnel.retry_after"

// setRetryAfter sets or empties the placeholder, of which there is one for all
// tries of a request. Were it not set, its name would stand in the header.
func setRetryAfter(req *http.Request, err error) {
	repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	if e, ok := errors.AsType[*dialError](err); ok && e.retryAfter > 0 {
		repl.Set(retryAfterPlaceholder, int(math.Ceil(e.retryAfter.Seconds())))
	} else {
		repl.Set(retryAfterPlaceholder, "")
	}
}
