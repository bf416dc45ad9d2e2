package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
)

// clientVersion is what the bastion's log shows of us (RFC 4253 section 4.2).
const clientVersion = "SSH-2.0-caddy_ssh_tunnel"

// errConnectTimeout is the cause of a connect that took too long.
var errConnectTimeout = errors.New("connect_timeout")

// connect gets one connection, in turn with all other connects to the bastion.
func (e *entry) connect() (*link, error) {
	if err := e.gate.enter(e.ctx); err != nil {
		return nil, err
	}
	defer e.gate.leave()

	hosts, err := e.hostKeys(&e.cfg, e.log())
	if err != nil {
		return nil, err
	}
	for {
		l, err := e.connectOnce(hosts)
		if _, ok := errors.AsType[*HostKeyError](err); ok && hosts.another() {
			continue // the fingerprint we know may be that of a key of another type
		}
		return l, err
	}
}

// connectOnce makes one connection of TCP and one handshake on it.
func (e *entry) connectOnce(hosts *hostKeys) (*link, error) {
	timeout := e.settings().ConnectTimeout
	if e.jump == nil {
		ctx, cancel := context.WithTimeoutCause(e.ctx, timeout, errConnectTimeout)
		defer cancel()
		conn, err := dialTCP(ctx, &e.cfg)
		if err != nil {
			return nil, &connectError{classNetwork, fmt.Errorf("connecting to %q: %w", e.cfg.Address, e.explainTimeout(ctx, err, "no answer"))}
		}
		return e.handshake(ctx, conn, hosts)
	}
	// Each hop has its own connect_timeout.
	conn, err := e.dialJump(timeout)
	if err != nil {
		return nil, &connectError{classNetwork, fmt.Errorf("connecting to %q through tunnel %q: %w", e.cfg.Address, e.jump.cfg.Name, err)}
	}
	ctx, cancel := context.WithTimeoutCause(e.ctx, timeout, errConnectTimeout)
	defer cancel()
	return e.handshake(ctx, conn, hosts)
}

// dialJump connects to the bastion through the tunnel jumped through, for
// which it waits as long as that may take to connect.
func (e *entry) dialJump(timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(e.ctx, timeout+e.jump.connectBudget(), errConnectTimeout)
	defer cancel()
	return e.jump.dial(ctx, Target{Network: "tcp", Address: e.cfg.Address, Class: Stream}, true)
}

// connectBudget is how long the tunnel may take to connect, its jumps included.
func (h *Handle) connectBudget() time.Duration {
	budget := h.entry.settings().ConnectTimeout
	if h.jump != nil {
		budget += h.jump.connectBudget()
	}
	return budget
}

// handshake exchanges keys and authenticates on a connection, which it closes
// if that fails. A watchdog closes it, and the agent's, when ctx ends: neither
// a server that says nothing, or one byte a second, nor a hung agent keeps it.
func (e *entry) handshake(ctx context.Context, conn net.Conn, hosts *hostKeys) (*link, error) {
	log := e.log()
	w := newWire(conn)
	auth := newAuthenticator(&e.cfg, log)
	defer auth.close()
	stop := context.AfterFunc(ctx, func() {
		w.die(context.Cause(ctx))
		auth.close()
	})
	defer stop()

	cc := &ssh.ClientConfig{
		Config:            e.cfg.cryptoConfig(),
		ClientVersion:     clientVersion,
		HostKeyCallback:   hosts.verifier(ctx),
		HostKeyAlgorithms: hosts.algorithms(),
		BannerCallback: func(message string) error {
			log.Debug("banner", zap.String("message", printable(message)))
			return nil
		},
	}
	auth.apply(cc)
	sc, channels, requests, err := ssh.NewClientConn(w, e.cfg.Address, cc)
	if err == nil && !stop() {
		// It took a moment too long, and the watchdog has closed the wire.
		err = context.Cause(ctx)
		_ = sc.Close()
		go ssh.DiscardRequests(requests)
		go func() {
			for range channels { //nolint:revive // drains until the transport has died
			}
		}()
	}
	if err != nil {
		w.die(err)
		return nil, e.explainHandshake(ctx, w, hosts, auth, err)
	}

	about := []zap.Field{
		zap.Stringer("remote", conn.RemoteAddr()),
		zap.String("user", e.cfg.User),
		zap.String("server", printable(string(sc.ServerVersion()))),
		zap.String("auth", auth.used()),
	}
	if key := hosts.accepted(); key != nil {
		about = append(about, zap.String("host_key", ssh.FingerprintSHA256(plainKey(key))))
	}
	if m, ok := sc.(ssh.AlgorithmsConnMetadata); ok {
		a := m.Algorithms()
		about = append(about, zap.String("kex", a.KeyExchange), zap.String("cipher", a.Write.Cipher))
	}
	certificates := auth.certificates()
	for _, c := range certificates {
		about = append(about, zap.String("certificate_expires", certTime(c.ValidBefore)))
	}
	l := newLink(e, w, sc, channels, requests, about)
	l.certificates = certificates
	return l, nil
}

// explainHandshake turns a handshake's error into one that says at which point
// it failed, with its class.
func (e *entry) explainHandshake(ctx context.Context, w *wire, hosts *hostKeys, auth *authenticator, err error) error {
	if hostKey, ok := errors.AsType[*HostKeyError](err); ok {
		return &connectError{classRefused, hostKey}
	}
	explained := auth.explain(err)
	if refused, ok := errors.AsType[*AuthError](explained); ok {
		if auth.mayPass() {
			return &connectError{classProtocol, refused}
		}
		return &connectError{classRefused, refused}
	}
	class, stage := classProtocol, "in the key exchange"
	switch {
	case w.lastHeard() == 0:
		class, stage = classNetwork, "it accepted the connection, but sent no SSH banner"
	case explained != err: //nolint:errorlint // identity: the agent kept us waiting
		stage = "in the authentication, " + strings.TrimSuffix(explained.Error(), ": "+err.Error())
	case hosts.accepted() != nil:
		stage = "in the authentication"
	case isConnError(err) && ctx.Err() == nil && !strings.Contains(w.greeting, "SSH-"):
		// As sshd does past MaxStartups, and to a source that it penalises.
		class, stage = classNetwork, fmt.Sprintf("it sent %q instead of an SSH banner", printable(w.greeting))
	}
	return &connectError{class, fmt.Errorf("connecting to %q: %s: %w", e.cfg.Address, stage, e.explainTimeout(ctx, err, "no progress"))}
}

// explainTimeout says which option has set the limit that was reached.
func (e *entry) explainTimeout(ctx context.Context, err error, what string) error {
	if errors.Is(context.Cause(ctx), errConnectTimeout) {
		return fmt.Errorf("%s within connect_timeout (%s)", what, e.settings().ConnectTimeout)
	}
	return err
}
