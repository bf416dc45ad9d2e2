package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// Dial opens a channel to the target. It waits for a connect, or for the first reconnect
// after a loss, to end, and fails at once with a *failure.DownError after a failed one. While
// the connections are full, or many opens to the target are unanswered, it waits for its
// turn; see dialtimeout.With. Errors are *failure.DownError, *failure.TimeoutError,
// *failure.OpenError, *failure.FullError or failure.ErrClosed, unless the target is no
// address. The caller holds the pool; see Hold.
func (p *Pool) Dial(ctx context.Context, t Target) (*Conn, error) {
	r, err := newOpenRequest(t)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	c, err := p.dial(ctx, r)
	if err == nil {
		c.SetDialDuration(time.Since(start))
	}
	if !errors.Is(err, errUnwanted) {
		p.countDial(err)
	}
	return c, err
}

// Connect waits, as Dial does, until the tunnel has a connection, and opens no channel. A
// lazy tunnel connects. patient is as in a Target. Errors are those of Dial.
func (p *Pool) Connect(ctx context.Context, patient bool) error {
	m, err := p.pick(ctx, &placement{line: lineKey{class: anyClass}, patient: patient})
	if err != nil {
		return err
	}
	p.channelEnded(m) // the place for a channel that pick has counted
	return nil
}

// dial is Dial for a target that is an address.
func (p *Pool) dial(ctx context.Context, r *openRequest) (*Conn, error) {
	// An open that was lost with its connection never reached the target, but may
	// have been what ended the connection: two more chances, no more. One that waits on a
	// stalled connection is moved once.
	moved := false
	for chances := 2; ; {
		m, err := p.pick(ctx, p.placement(r))
		if err != nil {
			return nil, err
		}
		c, err := p.openOn(ctx, m, r, !moved)
		switch refused, ok := errors.AsType[*failure.OpenError](err); {
		case ok && refused.Crowded:
			return p.dialElsewhere(ctx, r, m, refused)
		case isProhibited(err):
			p.noteProhibited(m, err)
			return nil, err
		case errors.Is(err, sshconn.ErrStalled):
			moved = true
			continue
		case !errors.Is(err, sshconn.ErrLost):
			return c, err
		case chances == 0 || ctx.Err() != nil:
			lost := &sshconn.LostError{Cause: m.client.Err()}
			if len(p.activeMembers()) > 0 { // the tunnel is not down
				return nil, &failure.TimeoutError{Tunnel: p.cfg.Name, Doing: fmt.Sprintf("opening channel to %q", r.target.Address), Cause: lost}
			}
			return nil, &failure.DownError{Tunnel: p.cfg.Name, Cause: lost, RetryAfter: time.Second}
		}
		chances--
	}
}

// noteProhibited records on a connection that the bastion prohibited something. sshd reads
// its configuration, the options of a key and the groups of the user as a connection
// begins: after a change there, a connection goes on being refused.
func (p *Pool) noteProhibited(m *member, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.prohibited = &report.ErrorStatus{Time: time.Now(), Host: m.host.Address, Cause: failure.CauseProhibited, Error: err.Error()}
}

// isProhibited reports whether an open was refused for a setting of the bastion.
func isProhibited(err error) bool {
	refused, ok := errors.AsType[*failure.OpenError](err)
	return ok && refused.Reason == failure.OpenProhibited
}

// openOn opens a channel on a connection. It counts as one of the connection's channels already,
// and as an unanswered open.
func (p *Pool) openOn(ctx context.Context, m *member, r *openRequest, mayMove bool) (*Conn, error) {
	c, err := m.client.Open(ctx, r.Request, mayMove)
	if err != nil {
		p.channelEnded(m) // one that nobody waits for holds up no drain
	}
	if errors.Is(err, sshconn.ErrNoAnswer) {
		err = &failure.TimeoutError{Tunnel: p.cfg.Name, Doing: fmt.Sprintf("opening channel to %q", r.target.Address), Cause: context.Cause(ctx)}
	}
	return c, err
}

// placement returns what a dial for the request wants.
func (p *Pool) placement(r *openRequest) *placement {
	return &placement{line: lineKey{class: p.classOf(r), target: r.target.Address}, patient: r.target.Patient, unwanted: r.target.Unwanted}
}

const (
	// fewChannels is how many channels a connection takes at least.
	fewChannels = 16
	// cappedFor is how long it takes no more than it had when the bastion
	// refused one: that may have had another reason, which is over.
	cappedFor = 5 * time.Minute
)

// dialElsewhere opens a channel on another connection than one that has just
// refused it, for a reason that may be the connection's: sshd says "open failed" when it
// has no more files, as well as of a Unix socket that is not there. A connection that opens
// what the first did not shows that the first is full. Another connection is added for it
// only if the target is known to work: no target that fails, and be it asked for ever so
// often, adds any.
func (p *Pool) dialElsewhere(ctx context.Context, r *openRequest, m *member, refused *failure.OpenError) (*Conn, error) {
	w := p.placement(r)
	p.mu.Lock()
	channels := m.channels
	w.patient, w.not, w.line.elsewhere, w.known = false, m, true, p.works(r)
	p.mu.Unlock()
	if channels < fewChannels {
		return nil, refused
	}
	soon, cancel := context.WithTimeout(ctx, streamPatience)
	next, err := p.pick(soon, w)
	cancel()
	if err != nil {
		return nil, refused
	}
	c, err := p.openOn(ctx, next, r, false)
	if err != nil {
		return nil, refused
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m.limit, m.cappedAt = max(fewChannels, min(len(m.conns), m.limit)), time.Now()
	return c, nil
}

// works reports whether there is an open channel to the target. The caller holds mu.
func (p *Pool) works(r *openRequest) bool {
	for _, m := range p.members {
		for c := range m.conns {
			if addr := c.RemoteAddr(); addr.Network() == r.RemoteAddr().Network() && addr.String() == r.RemoteAddr().String() {
				return true
			}
		}
	}
	return false
}

// openResult is how a dial has ended.
type openResult string

const (
	resultOpened  openResult = "opened"
	resultDown    openResult = "tunnel_down"
	resultFull    openResult = "tunnel_full"
	resultTimeout openResult = "no_answer"
	resultOther   openResult = "other"
)

// countDial counts a dial that ended with err.
func (p *Pool) countDial(err error) {
	if err == nil {
		p.counters.Opened.Add(1)
	}
	p.counters.Dialed(string(resultOf(err)))
}

func resultOf(err error) openResult {
	if err == nil {
		return resultOpened
	}
	if refused, ok := errors.AsType[*failure.OpenError](err); ok {
		return openResult(refused.Reason.Word())
	}
	if _, ok := errors.AsType[*failure.DownError](err); ok {
		return resultDown
	}
	if _, ok := errors.AsType[*failure.FullError](err); ok {
		return resultFull
	}
	if _, ok := errors.AsType[*failure.TimeoutError](err); ok {
		return resultTimeout
	}
	return resultOther
}
