package tunnel

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// Handle is one configuration's hold on a tunnel.
type Handle struct {
	cfg  Config
	key  string
	set  Settings
	jump *Handle
	// pool is the tunnel. A closed handle uses it for its generations only.
	pool *shared
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
	h := newHandle(cfg, set.WithDefaults(), jump)
	h.pool = pools.acquire(h)
	return h
}

// newHandle returns a handle that has no pool yet. set has its defaults.
func newHandle(cfg Config, set Settings, jump *Handle) *Handle {
	h := &Handle{cfg: cfg, set: set, jump: jump, opened: make(chan struct{})}
	jumpKey := ""
	if jump != nil {
		jumpKey = jump.key
	}
	h.key = h.cfg.Key(jumpKey)
	return h
}

// Another returns another handle on the same tunnel, with the same settings. Like
// that of Open it is neither started nor closed.
func (h *Handle) Another() *Handle {
	other := newHandle(h.cfg, h.set, h.jump)
	other.pool = pools.acquire(other)
	return other
}

// DrainTimeout is how long the tunnel goes on after its last handle is closed.
func (h *Handle) DrainTimeout() time.Duration { return h.set.DrainTimeout }

// LazyTimeout is after how long without a channel the tunnel disconnects, or 0.
func (h *Handle) LazyTimeout() time.Duration { return h.set.LazyTimeout }

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
	h.pool.Configure(h, h.set)
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
	h.pool.Unconfigure(h)
	pools.release(h.pool)
	h.openedOnce.Do(func() { close(h.opened) })
}

// Dial opens a channel to the target. Before Start it waits for that. It
// waits for a connect, or for the first reconnect after a loss, to end, and
// fails at once with a *DownError after a failed one. While the connections are
// full, or many opens to the target are unanswered, it waits for its turn; see
// dialtimeout.With. Errors are *DownError, *TimeoutError, *failure.OpenError, *FullError
// or ErrClosed, unless the target is no address.
func (h *Handle) Dial(ctx context.Context, t Target) (*Conn, error) {
	p, release, err := h.awaitStart(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return p.Dial(ctx, t)
}

// Connect waits, as Dial does, until the tunnel has a connection, and opens no
// channel. A lazy tunnel connects. Errors are those of Dial.
func (h *Handle) Connect(ctx context.Context) error { return h.connect(ctx, false) }

// connect is Connect. patient is as in a Target.
func (h *Handle) connect(ctx context.Context, patient bool) error {
	p, release, err := h.awaitStart(ctx)
	if err != nil {
		return err
	}
	defer release()
	return p.Connect(ctx, patient)
}

// Reconnect replaces each connection by a new one, which takes over before the old
// one drains: what goes on through that one goes on. If there is none, the tunnel
// connects: soon, even after the bastion has refused us, since somebody may have fixed
// that there. It does not wait. As any other, the attempt waits for its slot.
//
// It returns ErrClosed if the tunnel has ended.
func (h *Handle) Reconnect() error {
	p, release, err := h.hold()
	if err != nil {
		return err
	}
	defer release()
	p.Reconnect()
	return nil
}

// awaitStart waits for Start, and is then hold.
func (h *Handle) awaitStart(ctx context.Context) (p *shared, release func(), err error) {
	select {
	case <-h.opened:
	case <-ctx.Done():
		return nil, nil, &TimeoutError{Tunnel: h.cfg.Name, Doing: "waiting for the configuration to start", Cause: context.Cause(ctx)}
	}
	return h.hold()
}

// hold returns the tunnel, held for the time of a dial: the handle may be
// closed meanwhile, or have been, and this be one of its last requests.
func (h *Handle) hold() (p *shared, release func(), err error) {
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
func (h *Handle) Generation() uint64 { return h.pool.Generation() }

// Moved returns a channel that is closed once the generation is later than gen.
func (h *Handle) Moved(gen uint64) <-chan struct{} { return h.pool.Moved(gen) }

// DialStream is Dial for a connection that lives long, to a "host:port".
func (h *Handle) DialStream(ctx context.Context, address string) (net.Conn, error) {
	return h.dialStream(ctx, address, false)
}

// dialStream is DialStream. patient is as in a Target.
func (h *Handle) dialStream(ctx context.Context, address string, patient bool) (net.Conn, error) {
	c, err := h.Dial(ctx, Target{Network: "tcp", Address: address, Class: Stream, Patient: patient})
	if err != nil {
		return nil, err // not a nil *Conn
	}
	return c, nil
}

// Listen returns a listener for an address on the bastion: network "tcp" and
// "host:port" (RFC 4254 section 7.1), or "unix" and the path of a socket there
// (OpenSSH's PROTOCOL, section 2.4). The host is as for ssh -R: an IP address
// of the bastion, "localhost", or "" or "*" for all of its addresses; whether
// sshd listens on others than loopback is for its GatewayPorts to say.
//
// The listener is there at once. The bastion is asked to listen when the
// handle is started and the tunnel connected, which a listener sees to even
// if the tunnel is lazy, and again on each new connection. Until it does,
// and while it refuses, Accept waits. Listeners for the same address share a
// forward: the newest one whose handle is started and not closed gets the
// connections, and those that wait go from one to the next. Closing the handle
// takes its listeners out of service and does not close them.
//
// Errors are those of addresses that cannot be listened on, and ErrClosed of a closed
// handle.
func (h *Handle) Listen(network, address string) (*remote.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	return h.pool.Listen(h, network, address)
}

// Status returns what there is to know about the tunnel.
func (h *Handle) Status() report.Status {
	s := h.pool.Status()
	s.Lazy = h.set.Lazy
	if h.jump != nil {
		s.ProxyJump = h.jump.cfg.Name
	}
	return s
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
		Timeout: h.pool.ConnectTimeout,
	}
}
