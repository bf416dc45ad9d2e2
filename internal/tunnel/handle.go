package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
)

// Class tells what a channel is for. Streams and requests live on different
// connections where a tunnel has more than one.
type Class int

const (
	// Request is a channel of pooled, short requests.
	Request Class = iota
	// Stream is a channel that lives long: an upgrade, a raw connection, a jump.
	Stream
)

// Target says where a channel leads.
type Target struct {
	// Network is "tcp" (a direct-tcpip channel, RFC 4254 section 7.2) or "unix"
	// (direct-streamlocal@openssh.com, OpenSSH's PROTOCOL section 2.4).
	Network string

	// Address is "host:port", the name being resolved by the bastion, or the
	// path of a socket on the bastion.
	Address string

	// Originator is the peer whose connection is forwarded. If it is not
	// valid, a constant one is sent.
	Originator netip.AddrPort

	Class Class

	// ByClient says that a client chose the host, and not the configuration. Such a
	// name may take the bastion long to look up: it is looked up on a connection apart.
	ByClient bool

	// Unwanted is closed when nobody waits for the channel any more. A dial that
	// has not had its turn by then gives it up. Default: nil.
	Unwanted <-chan struct{}
}

// Handle is one configuration's hold on a tunnel.
type Handle struct {
	cfg  Config
	key  string
	set  Settings
	jump *Handle
	// pool is the tunnel. A closed handle uses it for its generations only.
	pool *pool
	// opened is closed by Start and by Close.
	opened     chan struct{}
	openedOnce sync.Once

	// mu guards the fields below.
	mu       sync.Mutex
	started  bool
	closed   bool
	closedAt time.Time
}

// Open returns a handle on the tunnel that cfg describes, through the tunnel
// jump if that is not nil. It opens no connection and reads no file.
func Open(cfg Config, set Settings, jump *Handle) *Handle {
	h := newHandle(cfg, set, jump)
	h.pool = pools.acquire(h)
	return h
}

func newHandle(cfg Config, set Settings, jump *Handle) *Handle {
	h := &Handle{cfg: cfg, set: set.withDefaults(), jump: jump, opened: make(chan struct{})}
	jumpKey := ""
	if jump != nil {
		jumpKey = jump.key
	}
	h.key = h.cfg.Key(jumpKey)
	return h
}

// Another returns another handle on the same tunnel, with the same settings. Like
// that of Open it is neither started nor closed.
func (h *Handle) Another() *Handle { return Open(h.cfg, h.set, h.jump) }

// DrainTimeout is how long the tunnel goes on after its last handle is closed.
func (h *Handle) DrainTimeout() time.Duration { return h.set.DrainTimeout }

// forJump returns a handle of the kind that a pool has on the tunnel it
// jumps through: a hold on it, without a say in its settings. The caller gives
// it its pool.
func (h *Handle) forJump() *Handle {
	j := newHandle(h.cfg, h.set, h.jump)
	j.started = true
	close(j.opened)
	j.openedOnce.Do(func() {})
	return j
}

// Key identifies the tunnel across configurations.
func (h *Handle) Key() string { return h.key }

// Start lets the tunnel connect, unless it is lazy, and puts the handle's
// Settings in force. It does not wait for the connection.
func (h *Handle) Start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.started || h.closed {
		return
	}
	h.started = true
	h.pool.attach(h)
	h.openedOnce.Do(func() { close(h.opened) })
}

// Close lets the tunnel go. It does not block, and is idempotent. Dials
// through the handle still work until DrainTimeout has passed: requests in
// flight outlive their configuration.
func (h *Handle) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed, h.closedAt = true, time.Now()
	h.pool.detach(h)
	pools.release(h.pool)
	h.openedOnce.Do(func() { close(h.opened) })
}

// Dial opens a channel to the target. Before Start it waits for that. It
// waits for a connect, or for the first reconnect after a loss, to end, and
// fails at once with a *DownError after a failed one. While the connections are
// full, or many opens to the target are unanswered, it waits for its turn; see
// WithDialTimeout. Errors are *DownError,
// *TimeoutError, *OpenError, *FullError or ErrClosed, unless the target is no
// address.
func (h *Handle) Dial(ctx context.Context, t Target) (*Conn, error) {
	return h.dial(ctx, t, false)
}

// dial does as Dial says; a patient one waits for one more attempt to connect
// instead of failing with the outcome of the last.
func (h *Handle) dial(ctx context.Context, t Target, patient bool) (*Conn, error) {
	r, err := newOpenRequest(t)
	if err != nil {
		return nil, err
	}
	select {
	case <-h.opened:
	case <-ctx.Done():
		return nil, &TimeoutError{Tunnel: h.cfg.Name, Doing: "waiting for the configuration to start", Cause: context.Cause(ctx)}
	}
	e, release, err := h.hold()
	if err != nil {
		return nil, err
	}
	defer release()
	start := time.Now()
	c, err := e.dial(ctx, r, patient)
	if err == nil {
		c.SetDialDuration(time.Since(start))
	}
	if !errors.Is(err, errUnwanted) {
		e.countDial(err)
	}
	return c, err
}

// Connect waits, as Dial does, until the tunnel has a connection, and opens no
// channel. A lazy tunnel connects. Errors are those of Dial.
func (h *Handle) Connect(ctx context.Context) error { return h.connect(ctx, false) }

// connect is Connect; a patient one waits as dial says.
func (h *Handle) connect(ctx context.Context, patient bool) error {
	select {
	case <-h.opened:
	case <-ctx.Done():
		return &TimeoutError{Tunnel: h.cfg.Name, Doing: "waiting for the configuration to start", Cause: context.Cause(ctx)}
	}
	e, release, err := h.hold()
	if err != nil {
		return err
	}
	defer release()
	m, err := e.pick(ctx, &placement{line: lineKey{class: anyClass}, patient: patient})
	if err != nil {
		return err
	}
	e.channelEnded(m) // the place for a channel that pick has counted
	return nil
}

// Reconnect replaces each connection by a new one, which takes over before the old
// one drains: what goes on through that one goes on. If there is none, the tunnel
// connects: soon, even after the bastion has refused us, since somebody may have fixed
// that there. It does not wait. As any other, the attempt waits for its slot.
//
// It returns ErrClosed if the tunnel has ended.
func (h *Handle) Reconnect() error {
	e, release, err := h.hold()
	if err != nil {
		return err
	}
	defer release()
	e.mu.Lock()
	links, active := e.present(), len(e.active())
	e.mu.Unlock()
	for _, l := range links {
		e.replace(l, reasonRequested, "requested")
	}
	if active == 0 {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.retry.force()
		e.wake()
	}
	return nil
}

// hold returns the tunnel, held for the time of a dial: the handle may be
// closed meanwhile, or have been, and this be one of its last requests.
func (h *Handle) hold() (p *pool, release func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed && (!h.started || time.Since(h.closedAt) >= h.set.DrainTimeout) {
		return nil, nil, ErrClosed
	}
	p = pools.acquire(h)
	return p, func() { pools.release(p) }, nil
}

// Generation is a number that rises each time the channels of requests should
// go to other connections than before: one was replaced, or is left to streams
// from now on. Pools of channels opened in an older generation should let go of
// them as they become idle.
func (h *Handle) Generation() uint64 { return h.pool.currentGeneration() }

// Moved returns a channel that is closed once the generation is later than gen.
func (h *Handle) Moved(gen uint64) <-chan struct{} { return h.pool.movedFrom(gen) }

// DialStream is Dial for a connection that lives long, to a "host:port".
func (h *Handle) DialStream(ctx context.Context, address string) (net.Conn, error) {
	return h.dialStream(ctx, address, false)
}

func (h *Handle) dialStream(ctx context.Context, address string, patient bool) (net.Conn, error) {
	c, err := h.dial(ctx, Target{Network: "tcp", Address: address, Class: Stream}, patient)
	if err != nil {
		return nil, err // not a nil *Conn
	}
	return c, nil
}

// asJump returns the tunnel as those are reached through it see it, or nil.
func (h *Handle) asJump() *connect.Jump {
	if h == nil {
		return nil
	}
	return &connect.Jump{
		Config: &h.cfg, Key: h.key, Via: h.jump.asJump(),
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return h.dialStream(ctx, address, true)
		},
		Connect: func(ctx context.Context) error { return h.connect(ctx, true) },
		Timeout: func() time.Duration { return h.pool.settings().ConnectTimeout },
	}
}
