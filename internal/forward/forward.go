package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialtimeout"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/permit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/pipe"
)

const (
	// handshakeTimeout bounds a client's TLS handshake. It is what Caddy gives
	// the clients of sites by default: the certificate may have to be obtained
	// first.
	handshakeTimeout = time.Minute

	// defaultDialTimeout is longer than what a request is given: nothing
	// retries a raw connection, and after a reload the tunnel may need a whole
	// connect first.
	defaultDialTimeout = 10 * time.Second

	// hangUpTimeout and hangUpBytes bound what a client that got the reason of a
	// failure may still send.
	hangUpTimeout = time.Second
	hangUpBytes   = 64 << 10
)

// Forwarder connects clients to a target. Its fields must not be changed once
// it is used.
type Forwarder struct {
	// Dial connects to the target on behalf of a client, from whom it may read
	// where that is. It is bounded by DialTimeout. If it fails, the client is
	// reset, unless it has the reason: see ToldError. Required.
	Dial func(ctx context.Context, client net.Conn) (net.Conn, error)

	// DialTimeout bounds Dial and the sending of the PROXY protocol's header.
	// Default: 10s.
	DialTimeout time.Duration

	// Target is what the target is called in logs and hooks. Default: the
	// remote address of what Dial returned.
	Target string

	// ProxyProtocol is the version of the header that the target is sent, "v1"
	// or "v2", with the client's address and the one it connected to. Default:
	// no header.
	ProxyProtocol string

	// IdleTimeout ends a connection through which no byte has gone, either way,
	// for so long. Default: never.
	IdleTimeout time.Duration

	// MaxConnections is how many connections there may be at a time. Those
	// beyond are reset at once. Default: any number.
	MaxConnections int

	// Count is what MaxConnections is compared with. Forwarders that share one
	// are limited together, such as those of one listener over time. Default:
	// one's own.
	Count *Count

	// Logger gets a debug line as a connection opens and as it ends, and the
	// failures. Default: none.
	Logger *zap.Logger

	// Track gets each connection, and calls Close on it to end it before
	// its time, with a reset; the function it returns is called at the end. Default:
	// none.
	Track func(conn io.Closer) (done func())

	// OnOpen is called when a connection to the target is there, OnClose when
	// one that was has ended. Default: none.
	OnOpen, OnClose func(Connection)

	own Count // if Count is nil
}

// Connection is what hooks get of a connection.
type Connection struct {
	// Remote is the client's address.
	Remote net.Addr
	// Target is where the connection leads.
	Target string
	// Read and Written are the bytes from and to the client, so far.
	Read, Written int64
	// Duration is how long the connection has been there.
	Duration time.Duration
	// Err is what ended the connection, nil if both sides did.
	Err error
}

// ToldError is what Dial returns when the client already has the reason why it failed,
// in a protocol that they share. The client is then closed in an orderly way,
// and the failure is logged at debug: it is the client's to report.
type ToldError struct{ Err error }

func (e *ToldError) Error() string { return e.Err.Error() }
func (e *ToldError) Unwrap() error { return e.Err }

// Forward connects a client to the target. It returns when both directions
// have ended, when either connection breaks, is idle for too long or is closed
// through Track, or when the target cannot be reached.
func (f *Forwarder) Forward(client net.Conn) {
	if f.Track != nil {
		defer f.Track(resetter{client})()
	}
	logger, count := f.logger(), f.count()
	if !count.enter(f.MaxConnections) {
		level, unlogged := count.logged.Level(zap.WarnLevel, "limit", 1)
		logger.Log(level, "too many connections; refusing more", zap.Int("max_connections", f.MaxConnections), unloggedField(unlogged))
		reset(client)
		return
	}
	defer count.leave()

	if err := handshake(client); err != nil {
		logger.Debug("TLS handshake failed", zap.Stringer("remote", client.RemoteAddr()), zap.Error(err))
		_ = client.Close()
		return
	}
	logger = logger.With(zap.Stringer("remote", client.RemoteAddr()))
	target, err := f.connect(client)
	if told, ok := errors.AsType[*ToldError](err); ok {
		logger.Debug("client refused", zap.Error(told))
		hangUp(client)
		return
	}
	if err != nil {
		kind := "failure"
		if _, denied := errors.AsType[*permit.DeniedError](err); denied {
			kind = "denial" // clients that cause many of these hide no failure
		}
		level, unlogged := count.logged.Level(zap.ErrorLevel, kind, failuresLogged)
		logger.Log(level, "dialing target failed", f.targetField(nil), unloggedField(unlogged), zap.Error(err))
		reset(client)
		return
	}
	f.join(client, target, logger.With(f.targetField(target)))
}

// handshake does the TLS handshake of a client that came through Caddy's tls
// wrapper, which leaves that to be done. Nothing is opened for a client that
// fails it.
func handshake(client net.Conn) error {
	conn, ok := Layer[interface{ HandshakeContext(context.Context) error }](client)
	if !ok {
		return nil
	}
	if err := client.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	// It has no context's bound: obtaining a certificate goes on though its client
	// is gone.
	if err := conn.HandshakeContext(context.Background()); err != nil {
		return err
	}
	return client.SetDeadline(time.Time{})
}

// connect dials the target and sends it the PROXY protocol's header. Its
// context is not that of a configuration, which a reload cancels.
func (f *Forwarder) connect(client net.Conn) (net.Conn, error) {
	timeout := f.DialTimeout
	if timeout <= 0 {
		timeout = defaultDialTimeout
	}
	ctx, cancel := dialtimeout.With(context.Background(), timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	target, err := f.Dial(ctx, client)
	if err != nil {
		return nil, err
	}
	if f.ProxyProtocol != "" {
		err := WriteProxyHeader(ctx, target, f.ProxyProtocol, AddrPort(client.RemoteAddr()), AddrPort(client.LocalAddr()))
		if err != nil {
			reset(target)
			return nil, err
		}
	}
	return target, nil
}

// join copies both ways until the connection ends.
func (f *Forwarder) join(client, target net.Conn, logger *zap.Logger) {
	c := Connection{Remote: client.RemoteAddr(), Target: f.targetName(target)}
	start := time.Now()
	logger.Debug("connection opened")
	if f.OnOpen != nil {
		f.OnOpen(c)
	}

	c.Read, c.Written, c.Err = pipeBoth(client, target, f.IdleTimeout)
	c.Duration = time.Since(start)
	logger.Debug("connection closed",
		zap.Int64("read", c.Read),
		zap.Int64("written", c.Written),
		zap.Duration("duration", c.Duration),
		zap.Error(c.Err))
	if f.OnClose != nil {
		f.OnClose(c)
	}
}

// pipeBoth is pipe.Copy, with an idle timeout unless that is zero.
func pipeBoth(a, b net.Conn, idleTimeout time.Duration) (aToB, bToA int64, err error) {
	cutAtExit(a)
	cutAtExit(b)
	defer endIfLost(a, b)()
	defer endIfLost(b, a)()
	if idleTimeout <= 0 {
		return pipe.Copy(end(a), end(b))
	}
	idle := watchIdle(idleTimeout, a, b)
	aToB, bToA, err = pipe.Copy(idle.watched(a), idle.watched(b))
	if idle.stop() {
		err = fmt.Errorf("idle for %s", idleTimeout)
	}
	return aToB, bToA, err
}

// hangUp closes a connection once what was written has been read. Closing it
// with something unread would reset it.
func hangUp(client net.Conn) {
	conn := layered{client}
	if conn.CloseWrite() == nil && conn.SetReadDeadline(time.Now().Add(hangUpTimeout)) == nil {
		_, _ = io.CopyN(io.Discard, conn, hangUpBytes)
	}
	_ = conn.Close()
}

// targetField is the log field that names the target, whose connection is nil
// if there is none.
func (f *Forwarder) targetField(conn net.Conn) zap.Field {
	if name := f.targetName(conn); name != "" {
		return zap.String("target", name)
	}
	return zap.Skip()
}

// unloggedField is the log field that says how many like it were for debugging.
func unloggedField(n int) zap.Field {
	if n > 0 {
		return zap.Int("unlogged", n)
	}
	return zap.Skip()
}

func (f *Forwarder) targetName(conn net.Conn) string {
	if f.Target != "" || conn == nil {
		return f.Target
	}
	return conn.RemoteAddr().String()
}

func (f *Forwarder) count() *Count {
	if f.Count != nil {
		return f.Count
	}
	return &f.own
}

var nopLogger = zap.NewNop()

func (f *Forwarder) logger() *zap.Logger {
	if f.Logger != nil {
		return f.Logger
	}
	return nopLogger
}
