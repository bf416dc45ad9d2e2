package connect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// errGivenUp ends an approach that has not led to a connection.
var errGivenUp = errors.New("given up")

// approach is a connection to a host before the login. It has its turn at the
// host's connect limiter until end.
type approach struct {
	host    *Host
	started time.Time
	// state is what held as it began, login what follows from it.
	state State
	login connlimit.Login
	// slot is nil before it is acquired. stamps were taken then.
	slot   *connlimit.Slot
	stamps connlimit.Stamps
	// parent is what the whole attempt ends with; ctx also when the time for
	// this connection is over.
	parent, ctx context.Context
	cancel      context.CancelFunc
	keys        *hostkey.Verifier
	generated   []ssh.Signer
	wire        *wire.Conn
	// greeted says that our version line has been sent.
	greeted bool
	// steps records how far it got. loginAt is when the login began, in a race.
	steps   *attemptLog
	loginAt time.Time
	// err is why it went no further.
	err error
}

// approach takes steps towards a host, in turn with all others that do, up to
// the first that fails.
func (c *Connector) approach(ctx context.Context, h *Host, steps ...func(*approach) error) *approach {
	a := &approach{host: h, started: time.Now(), parent: ctx, ctx: ctx, cancel: func() {}}
	defer func() { a.steps = cmp.Or(a.steps, newAttemptLog(h)) }()
	a.state = c.state()
	a.login = h.Login(a.state.Pace)
	if a.slot, a.err = h.Limiter.Acquire(ctx, a.login, a.state.Demand); a.err != nil {
		return a
	}
	a.started, a.stamps = time.Now(), c.stamps(ctx, h) // before any of it is read
	a.steps = newAttemptLog(h)                         // the time before was not the host's
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
		a.wire.Die(errGivenUp)
	}
	a.slot.Release()
}

// failure records that an approach has failed, or the login after it, while it
// still has its turn: who comes next is to know. It returns none if
// the tunnel has ended.
func (c *Connector) failure(a *approach, err error) []Failure {
	if errors.Is(err, connlimit.ErrPostponed) {
		if f := a.host.SharedFailure(a.state.Pace); f.Err != nil {
			return []Failure{f}
		}
		return nil
	}
	if a.parent.Err() != nil {
		return nil
	}
	f := Failure{Host: a.host, Err: err, Attempt: a.steps.end(err)}
	f.N, f.Delay = a.host.Limiter.Failed(a.login, connlimit.Failure{
		Err: err, Started: a.started, Stamps: a.stamps, Forced: a.state.Demand.Forced, Served: c.state().Served,
	}, a.state.Delay)
	return []Failure{f}
}

// unreached is an approach that has not begun.
func (c *Connector) unreached(ctx context.Context, h *Host, started time.Time) *approach {
	state := c.state()
	return &approach{host: h, started: started, parent: ctx, state: state, login: h.Login(state.Pace), steps: newAttemptLog(h), cancel: func() {}}
}

// loadKeys reads what the host's key is verified against, and the generated keys to log
// in with.
func (c *Connector) loadKeys(a *approach) (err error) {
	if err := c.loadGenerated(a); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(a.parent, c.state().Timeout, failure.ErrConnectTimeout)
	defer cancel()
	a.keys, err = hostkey.Load(ctx, c.hostKeys(a.host), c.log(a.host))
	return err
}

// reach makes an approach's connection, up to where SSH begins.
func (c *Connector) reach(a *approach) error {
	timeout := c.state().Timeout
	h := a.host
	a.cancel()
	a.greeted = false
	a.steps.restart()
	if c.jump != nil {
		// Each hop has its own connect_timeout.
		conn, err := c.dialJump(a.parent, h, timeout)
		if err != nil {
			return c.jumpError(h, err)
		}
		a.ctx, a.cancel = context.WithTimeoutCause(a.parent, timeout, failure.ErrConnectTimeout)
		a.reached(conn)
		return nil
	}
	a.ctx, a.cancel = context.WithTimeoutCause(a.parent, timeout, failure.ErrConnectTimeout)
	d := h.cfg.dialer()
	conn, err := d.Dial(a.ctx, c.log(h))
	if err != nil {
		return failure.New(failure.ClassOf(err), d.CauseOf(err), fmt.Errorf("connecting to %q: %w", h.Address, c.explainTimeout(a.ctx, err, dial.NoAnswer(err))))
	}
	a.reached(conn)
	return nil
}

// reached takes the connection on which SSH begins.
func (a *approach) reached(conn net.Conn) {
	a.wire = wire.New(conn, sshconn.StallAfter)
	a.steps.done(StepReach, func(at *Attempt) { at.Remote = conn.RemoteAddr().String() })
}

// greet sends our version line, which the host need not wait for (RFC 4253 section 4.2):
// OpenSSH begins the key exchange once it has that.
func (c *Connector) greet(a *approach) error {
	a.greeted = true
	_, _ = io.WriteString(a.wire, clientVersion+"\r\n") // awaitBanner finds that the wire is dead
	return nil
}

// awaitBanner waits for the first byte that the host sends.
func (c *Connector) awaitBanner(a *approach) error {
	stop := context.AfterFunc(a.ctx, func() { a.wire.Die(context.Cause(a.ctx)) })
	err := a.wire.AwaitByte()
	if err == nil && !stop() {
		err = context.Cause(a.ctx)
	}
	if err != nil {
		return failure.New(failure.ClassNetwork, failure.CauseNoBanner, fmt.Errorf("connecting to %q: %s: %w", a.host.Address, a.host.cfg.dialer().NoBanner(), c.explainTimeout(a.ctx, err, "no progress")))
	}
	return nil
}

// logIn makes a connection of an approach, whose wire it takes.
func (c *Connector) logIn(a *approach) (*Connection, error) {
	for {
		connection, err := c.handshake(a)
		a.wire = nil
		if err == nil {
			a.host.Limiter.Succeeded(a.login)
		}
		if _, ok := errors.AsType[*failure.HostKeyError](err); !ok || !a.keys.Retry() {
			return connection, err
		}
		// The fingerprint we know may be that of a key of another type.
		if err := c.reach(a); err != nil {
			return nil, err
		}
	}
}
