package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/metrics"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
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
	identity
	life
	workers
	// reports are for the log and the observer. Their lock is taken within mu.
	reports reports

	// mu guards the rest. It is never held across I/O or a call upwards.
	mu sync.Mutex
	configs
	takeovers
	// members are all connections, oldest first.
	members []*member
	// growth is what connections are lacking.
	growth growth
	// slow are the names whose lookup a connection has stalled over.
	slow slowNames
	// failback is which host is in use, and the return to one before it.
	failback failback
	// retry is when the tunnel connects.
	retry retry
	// queue are the dials that wait.
	queue dialQueue
	// history is what has happened, for status among others.
	history history
}

// identity is what makes a pool another than others. It never changes.
type identity struct {
	key string
	cfg Config
	// hosts are the bastions that it may connect to, in order of preference.
	hosts []*host
	// jump is our own handle on the tunnel jumped through, or nil.
	jump *Handle
	// connector connects to them.
	connector *connect.Connector
	// counters count what happens to the tunnel.
	counters *metrics.Counters
	// forwards are what the bastion is to listen on. Their lock is taken within mu.
	forwards *remote.Forwards
}

// workers are the goroutines of a pool.
type workers struct {
	// woken tells maintain that there may be something to do.
	woken chan struct{}
	// certified tells watchFiles of a new connection with a certificate.
	certified chan struct{}
	// running says that maintain runs, watching that watchFiles does. pool.mu guards
	// them.
	running, watching bool
}

// configs are the configurations that have the tunnel.
type configs struct {
	// handles are those that are started and not closed, oldest first.
	handles []*Handle
	// set is in force: that of the newest handle.
	set Settings
}

// takeovers are counted for those who keep channels.
type takeovers struct {
	// generation is that of the last takeover. moved is closed, and replaced, when it
	// changes.
	generation uint64
	moved      chan struct{}
}

// newPool makes the pool of a handle, which jumps through the tunnel that
// jump is a handle on. It connects to nothing.
func newPool(h, jump *Handle) *pool {
	p := &pool{
		identity:  identity{key: h.key, cfg: h.cfg, jump: jump, counters: metrics.Get(h.cfg.Name)},
		workers:   workers{woken: make(chan struct{}, 1), certified: make(chan struct{}, 1)},
		configs:   configs{set: h.set},
		takeovers: takeovers{moved: make(chan struct{})},
		history:   history{since: time.Now()},
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.forwards = remote.New(p.ctx, h.cfg.Name, forwarding{p}, &p.counters.Accepted)
	p.connector = connect.New(h.cfg, jump.asJump(), p.woken, p.attemptState, &p.counters.Received, &p.counters.Sent)
	for _, h := range p.connector.Hosts() {
		p.hosts = append(p.hosts, &host{Host: h})
	}
	p.failback.inUse = p.hosts[0]
	return p
}

// attach puts a started handle's settings in force.
func (p *pool) attach(h *Handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drainAt = time.Time{}
	p.handles = append(p.handles, h)
	p.set = h.set
	p.forwards.Start(h)
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
	p.forwards.Stop(h)
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
	logger, address := p.set.Logger, p.failback.inUse.Address
	p.mu.Unlock()
	return logger.With(zap.String("tunnel", p.cfg.Name), zap.String("address", address))
}

// addressInUse is the address of the host in use.
func (p *pool) addressInUse() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failback.inUse.Address
}

// broadcast wakes the forwards and serves the dials that wait: the connections have
// changed, or whether the tunnel is down. The caller holds mu.
func (p *pool) broadcast() {
	p.forwards.Changed()
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

// noteProhibited records on a connection that the bastion prohibited something. sshd reads
// its configuration, the options of a key and the groups of the user as a connection
// begins: after a change there, a connection goes on being refused.
func (p *pool) noteProhibited(m *member, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.prohibited = &ErrorStatus{time.Now(), m.host.Address, failure.CauseProhibited, err.Error()}
}

// isProhibited reports whether an open was refused for a setting of the bastion.
func isProhibited(err error) bool {
	refused, ok := errors.AsType[*failure.OpenError](err)
	return ok && refused.Reason == failure.OpenProhibited
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
