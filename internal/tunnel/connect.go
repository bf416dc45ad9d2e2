package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
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

// connect gets one connection, to the first of the hosts that can be had. It
// returns nil if none can, and what has failed.
func (e *entry) connect(hosts []*host) (*link, []hostFailure) {
	e.cfg.auth().Unlock(e.ctx, e.log()) // before any clock is set, and without a turn
	if len(hosts) > 1 {
		if e.jump == nil {
			return e.raceTo(hosts)
		}
		// Before the clock is set that a host's answer is measured with.
		start := time.Now()
		if err := e.awaitJump(); err != nil {
			return nil, e.failure(e.unreached(hosts[0], start), e.jumpError(hosts[0], err))
		}
		return e.raceTo(hosts)
	}
	a := e.approach(e.ctx, hosts[0], e.loadKeys, e.reach)
	defer a.end()
	var l *link
	err := a.err
	if err == nil {
		l, err = e.logIn(a)
	}
	if err != nil {
		return nil, e.failure(a, err)
	}
	return l, nil
}

// approach is a connection to a host before the login. It has its turn at the
// host's connect limiter until end.
type approach struct {
	host    *host
	started time.Time
	// set, login and demand are what held as it began.
	set    Settings
	login  connlimit.Login
	demand connlimit.Demand
	// slot is nil before it is acquired. stamps were taken then.
	slot   *connlimit.Slot
	stamps connlimit.Stamps
	// parent is what the whole attempt ends with; ctx also when the time for
	// this connection is over.
	parent, ctx context.Context
	cancel      context.CancelFunc
	keys        *hostkey.Verifier
	wire        *wire.Conn
	// steps records how far it got. loginAt is when the login began, in a race.
	steps   *attemptLog
	loginAt time.Time
	// err is why it went no further.
	err error
}

// approach takes steps towards a host, in turn with all others that do, up to
// the first that fails.
func (e *entry) approach(ctx context.Context, h *host, steps ...func(*approach) error) *approach {
	a := &approach{host: h, started: time.Now(), parent: ctx, ctx: ctx, cancel: func() {}}
	defer func() { a.steps = cmp.Or(a.steps, newAttemptLog(h)) }()
	e.mu.Lock()
	a.set, a.login, a.demand = e.set, h.loginWith(e.set), e.retry.demand
	e.mu.Unlock()
	if a.slot, a.err = h.limiter.Acquire(ctx, a.login, a.demand); a.err != nil {
		return a
	}
	a.started, a.stamps = time.Now(), e.stamps(h) // before any of it is read
	a.steps = newAttemptLog(h)                    // the time before was not the host's
	for _, step := range steps {
		if a.err = step(a); a.err != nil {
			break
		}
	}
	return a
}

// end gives the turn back, and the connection up unless it was logged in on.
func (a *approach) end() {
	a.cancel()
	if a.wire != nil {
		a.wire.Die(ErrClosed)
	}
	a.slot.Release()
}

// failure records that an approach has failed, or the login after it, while it
// still has its turn: who comes next is to know. It returns none if the entry has
// ended.
func (e *entry) failure(a *approach, err error) []hostFailure {
	if errors.Is(err, connlimit.ErrPostponed) {
		if f := a.host.sharedFailure(a.set); f.err != nil {
			return []hostFailure{f}
		}
		return nil
	}
	if e.ctx.Err() != nil {
		return nil
	}
	f := hostFailure{host: a.host, err: err, attempt: a.steps.end(err)}
	f.n, f.delay = a.host.limiter.Failed(a.login, connlimit.Failure{
		Err: err, Started: a.started, Stamps: a.stamps, Forced: a.demand.Forced, Served: len(e.activeLinks()) > 0,
	}, a.set.delay())
	return []hostFailure{f}
}

// unreached is an approach that has not begun.
func (e *entry) unreached(h *host, started time.Time) *approach {
	set := e.settings()
	return &approach{host: h, started: started, set: set, login: h.loginWith(set), steps: newAttemptLog(h), cancel: func() {}}
}

// loadKeys reads what the host's key is verified against.
func (e *entry) loadKeys(a *approach) (err error) {
	ctx, cancel := context.WithTimeout(e.ctx, e.settings().ConnectTimeout)
	defer cancel()
	a.keys, err = hostkey.Load(ctx, e.hostKeys(a.host), e.hostLog(a.host))
	return err
}

// reach makes an approach's connection, up to where SSH begins.
func (e *entry) reach(a *approach) error {
	timeout := e.settings().ConnectTimeout
	h := a.host
	a.cancel()
	a.steps.restart()
	if e.jump != nil {
		// Each hop has its own connect_timeout.
		conn, err := e.dialJump(a.parent, h, timeout)
		if err != nil {
			return e.jumpError(h, err)
		}
		a.ctx, a.cancel = context.WithTimeoutCause(a.parent, timeout, failure.ErrConnectTimeout)
		a.reached(conn)
		return nil
	}
	a.ctx, a.cancel = context.WithTimeoutCause(a.parent, timeout, failure.ErrConnectTimeout)
	d := h.cfg.dialer()
	conn, err := d.Dial(a.ctx, e.hostLog(h))
	if err != nil {
		return failure.New(failure.ClassOf(err), d.CauseOf(err), fmt.Errorf("connecting to %q: %w", h.cfg.Address, e.explainTimeout(a.ctx, err, dial.NoAnswer(err))))
	}
	a.reached(conn)
	return nil
}

// reached takes the connection on which SSH begins.
func (a *approach) reached(conn net.Conn) {
	a.wire = wire.New(conn, sshconn.StallAfter)
	a.steps.done(StepReach, func(at *Attempt) { at.Remote = conn.RemoteAddr().String() })
}

// awaitBanner waits for the first byte that the host sends.
func (e *entry) awaitBanner(a *approach) error {
	stop := context.AfterFunc(a.ctx, func() { a.wire.Die(context.Cause(a.ctx)) })
	err := a.wire.AwaitByte()
	if err == nil && !stop() {
		err = context.Cause(a.ctx)
	}
	if err != nil {
		return failure.New(failure.ClassNetwork, failure.CauseNoBanner, fmt.Errorf("connecting to %q: %s: %w", a.host.cfg.Address, a.host.cfg.dialer().NoBanner(), e.explainTimeout(a.ctx, err, "no progress")))
	}
	return nil
}

// logIn makes a connection of an approach, whose wire it takes.
func (e *entry) logIn(a *approach) (*link, error) {
	for {
		l, err := e.handshake(a)
		a.wire = nil
		if err == nil {
			a.host.limiter.Succeeded(a.login)
		}
		if _, ok := errors.AsType[*failure.HostKeyError](err); !ok || !a.keys.Retry() {
			return l, err
		}
		// The fingerprint we know may be that of a key of another type.
		if err := e.reach(a); err != nil {
			return nil, err
		}
	}
}

// dialJump connects to a host through the tunnel jumped through, for which it
// waits as long as that may take to connect.
func (e *entry) dialJump(ctx context.Context, h *host, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout+e.jump.connectBudget(), failure.ErrConnectTimeout)
	defer cancel()
	return e.jump.dial(ctx, Target{Network: "tcp", Address: h.cfg.Address, Class: Stream}, true)
}

// awaitJump waits until the tunnel jumped through is connected.
func (e *entry) awaitJump() error {
	ctx, cancel := context.WithTimeoutCause(e.ctx, e.jump.connectBudget(), failure.ErrConnectTimeout)
	defer cancel()
	return e.jump.connect(ctx, true)
}

// jumpError is the error of a host that the tunnel jumped through does not reach.
func (e *entry) jumpError(h *host, err error) error {
	return failure.New(failure.ClassNetwork, failure.CauseJump, fmt.Errorf("connecting to %q through tunnel %q: %w", h.cfg.Address, e.jump.cfg.Name, err))
}

// connectBudget is how long the tunnel may take to connect, its jumps included.
func (h *Handle) connectBudget() time.Duration {
	budget := h.entry.settings().ConnectTimeout
	if h.jump != nil {
		budget += h.jump.connectBudget()
	}
	return budget
}

// handshake exchanges keys and authenticates on an approach's wire, which it
// closes if that fails. A watchdog closes it, and the agent's, when the time is
// over: neither a server that says nothing, or one byte a second, nor a hung
// agent keeps it.
func (e *entry) handshake(a *approach) (*link, error) {
	ctx, h, w, keys := a.ctx, a.host, a.wire, a.keys
	log := e.hostLog(h)
	auth := sshauth.New(h.cfg.auth(), &h.memory, log)
	defer auth.Close()
	stop := context.AfterFunc(ctx, func() {
		w.Die(context.Cause(ctx))
		auth.Close()
	})
	defer stop()

	cc := &ssh.ClientConfig{
		Config:            e.cfg.CryptoConfig(),
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
	sc, channels, requests, err := ssh.NewClientConn(w, h.cfg.Address, cc)
	if err == nil && !stop() {
		// It took a moment too long, and the watchdog has closed the wire.
		err = context.Cause(ctx)
		_ = sc.Close()
		go ssh.DiscardRequests(requests)
		go func() {
			for range channels { //nolint:revive // drains until the transport has died
			}
			sshconn.TakeLeftover(sc)
		}()
		return nil, e.explainHandshake(ctx, h, w, keys, auth, err)
	}
	if err != nil {
		w.Die(err)
		go sshconn.TakeLeftover(inner)
		err = e.explainHandshake(ctx, h, w, keys, auth, err)
		auth.Learn(false)
		return nil, err
	}
	w.Advance(wire.StageOpen)
	auth.Learn(true)

	about := []zap.Field{
		zap.Stringer("remote", w.RemoteAddr()),
		zap.String("user", e.cfg.User),
		zap.String("server", printable.Text(string(sc.ServerVersion()))),
		zap.String("auth", auth.Used()),
	}
	if key := keys.Accepted(); key != nil {
		about = append(about, zap.String("host_key", ssh.FingerprintSHA256(algorithms.PlainKey(key))))
	}
	if m, ok := sc.(ssh.AlgorithmsConnMetadata); ok {
		algos := m.Algorithms()
		about = append(about, zap.String("kex", algos.KeyExchange), zap.String("cipher", algos.Write.Cipher))
		a.steps.done(StepHostKey, func(at *Attempt) { at.Algorithms = algorithms.Agreed(algos, w.Greeting().Strict) })
	}
	certificates := auth.Certificates()
	a.steps.done(StepAuthentication, func(at *Attempt) {
		at.Server, at.User, at.Authentication = printable.Text(string(sc.ServerVersion())), e.cfg.User, auth.Used()
		at.Certificates = usedCertificates(certificates)
	})
	for _, c := range certificates {
		about = append(about, zap.String("certificate_expires", algorithms.FormatTime(c.ValidBefore)))
	}
	client := sshconn.New(w, sc, sshconn.About{
		Tunnel: e.cfg.Name, Address: h.cfg.Address, Received: &e.tally.received, Sent: &e.tally.sent,
	})
	l := newLink(e, h, client, about)
	l.certificates = certificates
	l.attempt = a.steps.end(nil)
	client.Start(l, channels, requests)
	return l, nil
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
func (e *entry) explainHandshake(ctx context.Context, h *host, w *wire.Conn, keys *hostkey.Verifier, auth *sshauth.Authenticator, err error) error {
	if hostKey, ok := errors.AsType[*failure.HostKeyError](err); ok {
		return failure.New(failure.ClassRefused, "", hostKey)
	}
	if ours, ok := errors.AsType[*failure.Error](err); ok { // a learned key could not be kept
		return ours
	}
	if none := h.cfg.ExplainNegotiation(err); none != nil {
		return failure.New(failure.ClassProtocol, failure.CauseKeyExchange, fmt.Errorf("connecting to %q: %w", h.cfg.Address, none))
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
		if len(e.hosts) > 1 { // it does not say which
			err = fmt.Errorf("connecting to %q: %w", h.cfg.Address, refused)
		}
		return failure.New(class, refused.Cause, err)
	}
	class, cause, stage := failure.ClassProtocol, failure.CauseKeyExchange, "in the key exchange"
	data := w.Preamble()
	_, isSSH := dial.FirstWords(data)
	if bad, ok := errors.AsType[wire.VersionError](err); ok && isSSH {
		other := &failure.NotSSHError{Message: string(bad), Fix: "let a server answer there that speaks SSH 2, as OpenSSH does", Class: failure.ClassProtocol, Cause: failure.CauseNotSSH}
		return failure.New(other.Class, other.Cause, fmt.Errorf("connecting to %q: %w", h.cfg.Address, other))
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
		return failure.New(other.Class, other.Cause, fmt.Errorf("connecting to %q: %w: %w", h.cfg.Address, other, e.explainTimeout(ctx, err, "no progress")))
	}
	if errors.Is(err, net.ErrClosed) {
		err = w.Err() // x/crypto has heard of no more than that the wire is closed
	}
	return failure.New(class, cause, fmt.Errorf("connecting to %q: %s: %w", h.cfg.Address, stage, e.explainTimeout(ctx, auth.PrintableError(err), "no progress")))
}

// explainTimeout says which option has set the limit that was reached.
func (e *entry) explainTimeout(ctx context.Context, err error, what string) error {
	if errors.Is(context.Cause(ctx), failure.ErrConnectTimeout) {
		return fmt.Errorf("%s within connect_timeout (%s)", what, e.settings().ConnectTimeout)
	}
	return err
}
