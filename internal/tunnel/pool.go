package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

var nopLogger = zap.NewNop()

// pool is a tunnel: its connections, and what it takes to get them. All
// handles with its key share it.
//
// It lives from the first handle on it until nobody holds it, its channels have
// ended and Linger has passed, or until DrainTimeout after the last hold. While
// it lives, maintain keeps it connected.
type pool struct {
	key string
	cfg Config
	// hosts are the bastions that it may connect to, in order of preference.
	hosts []*host
	// counters count what happens to the tunnel.
	counters *counters
	// jump is our own handle on the tunnel jumped through, or nil.
	jump *Handle
	// ctx ends when the pool does.
	ctx context.Context
	end context.CancelFunc
	// woken tells maintain that there may be something to do.
	woken chan struct{}
	// certified tells watchFiles of a new connection with a certificate.
	certified chan struct{}

	// refs is guarded by registry.mu.
	refs int

	// reports are for the log and the observer. Their lock is taken within mu.
	reports reports

	// mu guards the rest. It is never held across I/O.
	mu sync.Mutex
	// handles are those that are started and not closed, oldest first.
	handles []*Handle
	// set is in force: that of the newest handle.
	set Settings
	// running tells that maintain runs, watching that watchFiles does.
	running, watching bool
	// held tells that somebody holds the pool. From the last hold on, idle and
	// drain end it, the latter at drainAt, which the last handle's Close sets.
	held        bool
	idle, drain *time.Timer
	drainAt     time.Time

	// inUse is the host that the last connection was to, or else the first: all
	// connections are to the same, except for those that are to be replaced.
	inUse *host
	// failback is the return to a host before the one in use.
	failback failback

	// members are all connections, oldest first.
	members []*member
	// growth is what connections are lacking.
	growth growth
	// slowNames are those whose lookup a connection has stalled over.
	slowNames slowNames
	// fastNames are those that were looked up without delay.
	fastNames map[string]bool
	// generation is that of the last takeover.
	generation uint64
	// moved is closed, and replaced, when generation changes.
	moved chan struct{}

	// forwards are what the bastion is to listen on, while it is or shall be.
	forwards map[remoteAddress]*forward

	// queue are the dials that wait.
	queue dialQueue

	// changed is closed, and replaced, when one of the fields below or the
	// connections change.
	changed chan struct{}
	// retry is when the tunnel connects.
	retry retry
	// unused is what is known of a bastion that ends connections without channels.
	unused unusedEnds
	// history is for status.
	history history
}

// newEntry makes the pool of a handle, which jumps through the tunnel that
// jump is a handle on. It connects to nothing.
func newPool(h, jump *Handle) *pool {
	e := &pool{
		key: h.key, cfg: h.cfg, set: h.set, jump: jump,
		woken:     make(chan struct{}, 1),
		certified: make(chan struct{}, 1),
		counters:  counts.get(h.cfg.Name),
		changed:   make(chan struct{}),
		moved:     make(chan struct{}),
		history:   history{since: time.Now()},
	}
	e.ctx, e.end = context.WithCancel(context.Background())
	e.hosts = newHosts(h.cfg, jump, e.woken)
	e.inUse = e.hosts[0]
	return e
}

// attach puts a started handle's settings in force.
func (p *pool) attach(h *Handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drainAt = time.Time{}
	p.handles = append(p.handles, h)
	p.set = h.set
	p.wakeForwards()
	p.wake()
}

// detach takes a handle's settings out of force.
func (p *pool) detach(h *Handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handles = slices.DeleteFunc(p.handles, func(o *Handle) bool { return o == h })
	if n := len(p.handles); n > 0 {
		p.set = p.handles[n-1].set
	}
	p.wakeForwards()
}

// revive takes a pool up again that somebody holds.
func (p *pool) revive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
	for _, t := range []*time.Timer{p.idle, p.drain} {
		if t != nil {
			t.Stop()
		}
	}
	p.idle, p.drain = nil, nil
}

// retire lets a pool go that nobody holds.
func (p *pool) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	if p.drainAt.IsZero() {
		p.drainAt = time.Now().Add(p.set.DrainTimeout)
	}
	p.drain = time.AfterFunc(time.Until(p.drainAt), p.finish)
	p.lingerIfIdle()
}

// lingerIfIdle ends a pool that nobody holds and that has no live channel, in a
// while. The caller holds mu.
func (p *pool) lingerIfIdle() {
	if p.held || p.idle != nil {
		return
	}
	wait := p.set.Linger
	if len(p.members) == 0 {
		wait = 0
	}
	for _, l := range p.members {
		if l.live() > 0 {
			return
		}
	}
	p.idle = time.AfterFunc(wait, func() {
		if pools.remove(p, p.stillIdle) {
			p.shutDown()
		}
	})
}

// stillIdle tells whether the pool has no live channel, when idle has fired.
func (p *pool) stillIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = nil
	return !slices.ContainsFunc(p.members, func(m *member) bool { return m.live() > 0 })
}

// finish ends a pool for good, channels or not, unless somebody has taken a
// hold on it.
func (p *pool) finish() {
	if pools.remove(p, func() bool { return true }) {
		p.shutDown()
	}
}

// shutDown ends a pool that was removed from the registry.
func (p *pool) shutDown() {
	p.mu.Lock()
	if p.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	p.end()
	links := slices.Clone(p.members)
	for _, l := range links {
		l.retired = true
	}
	if p.drain != nil {
		p.drain.Stop()
	}
	connected := len(p.present()) > 0
	p.broadcast()
	p.mu.Unlock()

	if connected {
		p.log().Info("closed")
	}
	for _, l := range links {
		l.client.Close(ErrClosed)
	}
	if p.jump != nil {
		p.jump.Close()
	}
	for _, h := range p.hosts {
		h.limiter.Put(p.woken)
	}
	counts.put(p.counters)
}

// settings returns those in force.
func (p *pool) settings() Settings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.set
}

// log returns the logger in force. The caller does not hold mu.
func (p *pool) log() *zap.Logger {
	p.mu.Lock()
	logger, address := p.set.Logger, p.inUse.cfg.Address
	p.mu.Unlock()
	return logger.With(zap.String("tunnel", p.cfg.Name), zap.String("address", address))
}

// addressInUse is the address of the host in use.
func (p *pool) addressInUse() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse.cfg.Address
}

// broadcast wakes everybody who waits for a change, and serves the dials that do.
// The caller holds mu.
func (p *pool) broadcast() {
	close(p.changed)
	p.changed = make(chan struct{})
	p.serveQueue()
}

// dial opens a channel.
func (p *pool) dial(ctx context.Context, r *openRequest, patient bool) (*Conn, error) {
	// An open that was lost with its connection never reached the target, but may
	// have been what ended the connection: two more chances, no more. One that waits on a
	// stalled connection is moved once.
	moved := false
	for chances := 2; ; {
		m, err := p.pick(ctx, p.placement(r, patient))
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
				return nil, &TimeoutError{Tunnel: p.cfg.Name, Doing: fmt.Sprintf("opening channel to %q", r.target.Address), Cause: lost}
			}
			return nil, &DownError{Tunnel: p.cfg.Name, Cause: lost, RetryAfter: time.Second}
		}
		chances--
	}
}

// openOn opens a channel on a connection. It counts as one of the connection's channels already,
// and as an unanswered open.
func (p *pool) openOn(ctx context.Context, m *member, r *openRequest, mayMove bool) (*Conn, error) {
	c, err := m.client.Open(ctx, r.Request, mayMove)
	if err != nil {
		p.channelEnded(m) // one that nobody waits for holds up no drain
	}
	if errors.Is(err, sshconn.ErrNoAnswer) {
		err = &TimeoutError{Tunnel: p.cfg.Name, Doing: fmt.Sprintf("opening channel to %q", r.target.Address), Cause: context.Cause(ctx)}
	}
	return c, err
}

// placement returns what a dial for the request wants.
func (p *pool) placement(r *openRequest, patient bool) *placement {
	return &placement{line: lineKey{class: p.classOf(r), target: r.target.Address}, patient: patient, unwanted: r.target.Unwanted}
}
