package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// clientVersion is what the bastion's log shows of us (RFC 4253 section 4.2).
const clientVersion = "SSH-2.0-caddy_ssh_tunnel"

// handshake exchanges keys and authenticates on an approach's wire, which it
// closes if that fails. A watchdog closes it, and the agent's, when the time is
// over: neither a server that says nothing, or one byte a second, nor a hung
// agent keeps it.
func (c *Connector) handshake(a *approach) (*Connection, error) {
	ctx, h, w, keys := a.ctx, a.host, a.wire, a.keys
	log := c.log(h)
	login := h.cfg.Auth()
	login.Generated = a.generated
	auth := sshauth.New(login, &h.memory, log)
	defer auth.Close()
	stop := context.AfterFunc(ctx, func() {
		w.Die(context.Cause(ctx))
		auth.Close()
	})
	defer stop()

	cc := &ssh.ClientConfig{
		Config:            c.cfg.CryptoConfig(),
		ClientVersion:     clientVersion,
		HostKeyCallback:   a.verifier(),
		HostKeyAlgorithms: keys.Algorithms(),
		BannerCallback:    bannerLog(log, auth),
	}
	auth.Apply(cc)
	choose := cc.AuthCallback
	var inner ssh.ConnMetadata
	cc.AuthCallback = func(ac *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
		inner = ac.Metadata
		w.Advance(wire.StageLogin)
		a.steps.done(StepHostKey, func(at *Attempt) { // which it is past
			at.Server, at.Algorithms = printable.Text(string(ac.Metadata.ServerVersion())), algorithms.Agreed(ac.Algorithms, w.Greeting().Strict)
		})
		if g := w.Greeting(); g.Signature != nil {
			auth.Bind(g.HostKey, ac.Metadata.SessionID(), g.Signature)
		}
		return choose(ac)
	}
	conn := net.Conn(w)
	if a.greeted {
		conn = &greetedConn{w, []byte(clientVersion + "\r\n")}
	}
	sc, channels, requests, err := ssh.NewClientConn(conn, h.Address, cc)
	if err == nil && !stop() {
		// It took a moment too long, and the watchdog has closed the wire.
		err = context.Cause(ctx)
		discard(sc, channels, requests)
		return nil, c.explainHandshake(ctx, h, w, keys, auth, err)
	}
	if err != nil {
		w.Die(err)
		go sshconn.TakeLeftover(inner)
		err = c.explainHandshake(ctx, h, w, keys, auth, err)
		auth.Learn(false)
		return nil, err
	}
	w.Advance(wire.StageOpen)
	auth.Learn(true)
	c.confirmGenerated(a.parent, a, auth)

	about := []zap.Field{
		zap.Stringer("remote", w.RemoteAddr()),
		zap.String("user", c.cfg.User),
		zap.String("server", printable.Text(string(sc.ServerVersion()))),
		zap.String("auth", auth.Used()),
	}
	if key := keys.Accepted(); key != nil {
		about = append(about, zap.String("host_key", ssh.FingerprintSHA256(algorithms.PlainKey(key))))
	}
	if meta, ok := sc.(ssh.AlgorithmsConnMetadata); ok {
		algos := meta.Algorithms()
		about = append(about, zap.String("kex", algos.KeyExchange), zap.String("cipher", algos.Write.Cipher))
		a.steps.done(StepHostKey, func(at *Attempt) { at.Algorithms = algorithms.Agreed(algos, w.Greeting().Strict) })
	}
	certificates := auth.Certificates()
	a.steps.done(StepAuthentication, func(at *Attempt) {
		at.Server, at.User, at.Authentication = printable.Text(string(sc.ServerVersion())), c.cfg.User, auth.Used()
		at.Certificates = usedCertificates(certificates)
	})
	for _, cert := range certificates {
		about = append(about, zap.String("certificate_expires", algorithms.FormatTime(cert.ValidBefore)))
	}
	client := sshconn.New(w, sc, sshconn.About{
		Tunnel: c.cfg.Name, Address: h.Address, Received: c.received, Sent: c.sent,
	})
	return &Connection{
		Host: h, Client: client, Certificates: certificates, Attempt: a.steps.end(nil), About: about,
		conn: sc, keys: keys, channels: channels, requests: requests,
	}, nil
}

// greetedConn is a wire on which our version line has been sent: x/crypto sends it first.
type greetedConn struct {
	*wire.Conn
	// sent is what x/crypto has yet to send, and is sent.
	sent []byte
}

// Write implements net.Conn.
func (c *greetedConn) Write(p []byte) (int, error) {
	if len(c.sent) > 0 && bytes.HasPrefix(c.sent, p) {
		c.sent = c.sent[len(p):]
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// maxBanners is how many of a connect's banners are logged.
const maxBanners = 3

// bannerLog logs what a bastion shows before it lets us in.
func bannerLog(log *zap.Logger, auth *sshauth.Authenticator) ssh.BannerCallback {
	shown := 0
	return func(message string) error {
		if shown++; shown <= maxBanners {
			log.Debug("banner", zap.String("message", auth.Printable(message)))
		}
		return nil
	}
}

// verifier is the host keys' verifier, and records how it went. By the time that
// it is called the keys have been exchanged. It outlives the approach: it is
// called again at each rekey.
func (a *approach) verifier() ssh.HostKeyCallback {
	w, keys, steps := a.wire, a.keys, a.steps
	verify := keys.Callback(a.ctx)
	return func(name string, remote net.Addr, key ssh.PublicKey) error {
		if w.Stage() == wire.StageExchange { // not at a rekey
			w.NoteGreeting(key)
		}
		w.Advance(wire.StagePaced)
		steps.doneAt(w.FirstHeard(), StepBanner, func(at *Attempt) { at.Server = w.Greeting().Version })
		steps.done(StepKeyExchange, func(at *Attempt) { at.HostKey = ssh.FingerprintSHA256(algorithms.PlainKey(key)) })
		err := verify(name, remote, key)
		if err == nil {
			steps.done(StepHostKey, func(at *Attempt) { at.HostKeySource = keys.Source(key) })
		}
		return err
	}
}

// explainHandshake turns a handshake's error into one that says at which point
// it failed, with its class.
func (c *Connector) explainHandshake(ctx context.Context, h *Host, w *wire.Conn, keys *hostkey.Verifier, auth *sshauth.Authenticator, err error) error {
	if hostKey, ok := errors.AsType[*failure.HostKeyError](err); ok {
		return failure.New(failure.ClassRefused, "", hostKey)
	}
	if ours, ok := errors.AsType[*failure.Error](err); ok { // a learned key could not be kept
		return ours
	}
	if none := h.cfg.ExplainNegotiation(err); none != nil {
		return failure.New(failure.ClassProtocol, failure.CauseKeyExchange, fmt.Errorf("connecting to %q: %w", h.Address, none))
	}
	if errors.Is(w.Err(), failure.ErrPreAuthLimit) {
		err = w.Err()
	}
	explained := auth.Explain(err)
	if refused, ok := errors.AsType[*failure.AuthError](explained); ok {
		class, err := failure.ClassRefused, error(refused)
		if auth.Retryable() {
			class = failure.ClassProtocol
		}
		if len(c.hosts) > 1 { // it does not say which
			err = fmt.Errorf("connecting to %q: %w", h.Address, refused)
		}
		return failure.New(class, refused.Cause, err)
	}
	class, cause, stage := failure.ClassProtocol, failure.CauseKeyExchange, "in the key exchange"
	data := w.Preamble()
	_, isSSH := dial.FirstWords(data)
	if bad, ok := errors.AsType[wire.VersionError](err); ok && isSSH {
		other := &failure.NotSSHError{Message: string(bad), Fix: "let a server answer there that speaks SSH 2, as OpenSSH does", Class: failure.ClassProtocol, Cause: failure.CauseNotSSH}
		return failure.New(other.Class, other.Cause, fmt.Errorf("connecting to %q: %w", h.Address, other))
	}
	switch {
	case w.LastHeard() == 0:
		class, cause, stage = failure.ClassNetwork, failure.CauseNoBanner, h.cfg.dialer().NoBanner()
	case explained != err: //nolint:errorlint // identity: the agent kept us waiting
		cause, stage = failure.CauseAuthentication, "in the authentication, "+strings.TrimSuffix(explained.Error(), ": "+err.Error())
	case keys.Accepted() != nil:
		cause, stage = failure.CauseAuthentication, "in the authentication"
	case w.Stage() == wire.StageExchange && !isSSH:
		other := h.cfg.dialer().NotSSH(data)
		return failure.New(other.Class, other.Cause, fmt.Errorf("connecting to %q: %w: %w", h.Address, other, c.explainTimeout(ctx, err, "no progress")))
	}
	if errors.Is(err, net.ErrClosed) {
		err = w.Err() // x/crypto has heard of no more than that the wire is closed
	}
	return failure.New(class, cause, fmt.Errorf("connecting to %q: %s: %w", h.Address, stage, c.explainTimeout(ctx, auth.PrintableError(err), "no progress")))
}

// explainTimeout says which option has set the limit that was reached.
func (c *Connector) explainTimeout(ctx context.Context, err error, what string) error {
	if errors.Is(context.Cause(ctx), failure.ErrConnectTimeout) {
		return fmt.Errorf("%s within connect_timeout (%s)", what, c.state().Timeout)
	}
	return err
}
