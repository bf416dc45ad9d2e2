package tunnel

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// reconsider.go asks a bastion again that prohibits something. sshd reads its
// configuration, the options of a key and the user's groups as a connection
// begins: what is permitted from then on, that connection is refused for as long
// as it lives, which may be months.

// reconsiderMin is how long a connection is believed that something is
// prohibited. Each time that a new one confirms it, the time until the next is
// asked doubles, up to refusedCap.
const reconsiderMin = 2 * time.Second

// reconsidered is how asking again has gone for a connection.
type reconsidered struct {
	// confirmed counts the answers that were the same as the connection's, asked
	// is when the last was got.
	confirmed int
	asked     time.Time
}

// due returns when to ask again what is prohibited on a connection that began at
// a time.
func (r reconsidered) due(start time.Time) time.Time {
	if r.confirmed == 0 {
		return start.Add(reconsiderMin)
	}
	delay := reconsiderMin
	for range r.confirmed {
		delay = min(2*delay, refusedCap)
	}
	return r.asked.Add(delay)
}

// question is something that a bastion has prohibited.
type question interface {
	// permitted asks on a connection, of which one channel is taken for that.
	permitted(ctx context.Context, l *link) bool
	// asksAnywhere tells whether it may be asked on a connection in service.
	asksAnywhere() bool
}

// reconsider has the bastion asked on a new connection what it has prohibited on
// another one, if that is due. It does not wait for it.
func (e *entry) reconsider(l *link, q question) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.held || e.reconsidering || time.Now().Before(l.reconsidered.due(l.wire.start)) {
		return
	}
	e.reconsidering = true
	go e.askAgain(l, q)
}

// askAgain asks, and has the connections replaced that are older than another
// answer. It returns when there are answers, or ConnectTimeout is over for the
// connect and once more for each answer.
func (e *entry) askAgain(old *link, q question) {
	start := time.Now()
	permitted := e.permittedAnew(old.host, q)
	if permitted && q.asksAnywhere() && e.permittedOn(old, q) {
		permitted = false // on the old one as well: it was the target
	}
	e.mu.Lock()
	e.reconsidering = false
	old.reconsidered.confirmed++
	old.reconsidered.asked = time.Now()
	e.mu.Unlock()
	if !permitted {
		return
	}
	for _, l := range e.activeLinks() {
		if l.wire.start.Before(start) {
			e.replace(l, reasonSettings, "the bastion permits a new one what it prohibits on this")
		}
	}
}

// permittedAnew asks on a connection that is for nothing else.
func (e *entry) permittedAnew(h *host, q question) bool {
	if due, _ := h.gate.due(e.key, false, false); time.Now().Before(due) {
		return false // it has refused a login
	}
	log := e.hostLog(h)
	log.Debug("asking on a new connection whether the bastion still prohibits it")
	l, err := e.connectAside(h)
	if err != nil {
		log.Debug("no new connection to ask on", zap.Error(err))
		return false
	}
	// Nobody else knows of it.
	defer func() {
		l.wire.die(ErrClosed)
		_ = l.conn.Close()
	}()
	return e.permittedOn(l, q)
}

// permittedOn asks on a connection.
func (e *entry) permittedOn(l *link, q question) bool {
	ctx, cancel := context.WithTimeoutCause(e.ctx, e.settings().ConnectTimeout, errConnectTimeout)
	defer cancel()
	e.mu.Lock()
	l.take(lineKey{class: anyClass})
	e.mu.Unlock()
	return q.permitted(ctx, l)
}

// connectAside makes a connection that is not put into service.
func (e *entry) connectAside(h *host) (*link, error) {
	a := e.approach(e.ctx, h, e.loadKeys, e.reach)
	defer a.end()
	if a.err != nil {
		return nil, a.err
	}
	return e.logIn(a)
}

// prohibits tells whether an open has failed for what may be a setting of the
// bastion's. Of sockets sshd does not say.
func (r *openRequest) prohibits(err error) bool {
	refused, ok := errors.AsType[*OpenError](err)
	return ok && (refused.Reason == OpenProhibited || refused.Reason == OpenFailed && r.target.Network == "unix")
}

// permitted implements question.
func (r *openRequest) permitted(ctx context.Context, l *link) bool {
	l.entry.mu.Lock()
	l.opens.take(r.target.Address)
	l.entry.mu.Unlock()
	c, err := l.open(ctx, r)
	if err == nil {
		_ = c.Close()
		return true
	}
	// The target may be away: that would not be known if it were prohibited.
	_, answered := errors.AsType[*OpenError](err)
	return answered && !r.prohibits(err)
}

// asksAnywhere implements question.
func (*openRequest) asksAnywhere() bool { return true }

// permitted implements question. The bastion listens for a moment.
func (a remoteAddress) permitted(ctx context.Context, l *link) bool {
	defer l.entry.channelEnded(l)
	name, payload := a.request()
	if ok, err := l.request(ctx.Done(), name, payload); err != nil || !ok {
		return false
	}
	name, payload = a.cancel()
	_, _ = l.request(ctx.Done(), name, payload) // or else with the connection
	return true
}

// asksAnywhere implements question. A forward is asked for where it belongs.
func (remoteAddress) asksAnywhere() bool { return false }
