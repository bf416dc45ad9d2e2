// Package connect makes SSH connections: from a tunnel's hosts and the way to them (TCP, a
// proxy, a command, a jump) to a connection that has verified the host key and
// authenticated, or to the cause why there is none. It takes turns with all others that
// connect to a host, and keeps no connection. It knows no pool: packages pool
// and renewal import it, and those above for Config, for what is known of an attempt, and to scan host keys.
package connect

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// Pace is how long an attempt to connect may take at one hop, and the delay between two.
type Pace struct {
	Timeout time.Duration
	Delay   connlimit.Delay
}

// State is what an attempt depends on and may change while it goes on.
type State struct {
	Pace
	Logger *zap.Logger
	// KeyMemory is where host keys are remembered; see Config.AcceptNewHostKey. If nil,
	// none is, and one that is new is refused.
	KeyMemory hostkey.Memory
	// KeyStore is where the keys of "identity auto" are; see sshauth.Identity. If nil, an
	// attempt with one fails.
	KeyStore sshauth.KeyStore
	// Demand is who wants a connection. Served says that the tunnel has others.
	Demand connlimit.Demand
	Served bool
}

// Dial connects to an address, a "host:port".
type Dial func(ctx context.Context, address string) (net.Conn, error)

// Jump is a tunnel that hosts are reached through.
type Jump struct {
	Config *Config
	// Key identifies it across configurations.
	Key string
	// Via is the tunnel that it is itself reached through, or nil.
	Via *Jump
	// Dial opens a channel. Connect waits until it is connected. Both wait for one more
	// attempt to connect instead of failing with the outcome of the last.
	Dial    Dial
	Connect func(context.Context) error
	// Timeout returns how long its own hop may take to connect.
	Timeout func() time.Duration
}

// budget is how long the tunnel may take to connect, its jumps included.
func (j *Jump) budget() (budget time.Duration) {
	for ; j != nil; j = j.Via {
		budget += j.Timeout()
	}
	return budget
}

// Connector makes the connections of a tunnel.
type Connector struct {
	cfg   Config
	hosts []*Host
	jump  *Jump
	wake  chan struct{}
	state func() State
	// received and sent count the bytes of all channels.
	received, sent *atomic.Int64
}

// New returns the Connector of a tunnel, until Close. jump may be nil. wake receives when
// an attempt may be due earlier than it was. state is called with no lock held. received
// and sent count the bytes of the channels.
func New(cfg Config, jump *Jump, wake chan struct{}, state func() State, received, sent *atomic.Int64) *Connector {
	return &Connector{
		cfg: cfg, hosts: newHosts(cfg, jump, wake), jump: jump,
		wake: wake, state: state, received: received, sent: sent,
	}
}

// Close gives the hosts' limiters back.
func (c *Connector) Close() {
	for _, h := range c.hosts {
		h.Limiter.Put(c.wake)
	}
}

// Hosts are those of the tunnel, in order of preference.
func (c *Connector) Hosts() []*Host { return c.hosts }

// Connection is an SSH connection that is authenticated, and that nobody serves before
// Start.
type Connection struct {
	Host   *Host
	Client *sshconn.Client
	// Certificates are those that let it in.
	Certificates []sshauth.Certificate
	// Attempt is the record of its connect, About what the log says of it.
	Attempt *Attempt
	About   []zap.Field

	conn     ssh.Conn
	keys     *hostkey.Verifier
	channels <-chan ssh.NewChannel
	requests <-chan *ssh.Request
}

// Start serves the connection, as sshconn.Client.Start does, and updates the host keys
// that were learned.
func (c *Connection) Start(owner sshconn.Owner) {
	c.Client.Start(owner, c.channels, c.updateHostKeys(c.requests))
}

// close ends a connection that is not started.
func (c *Connection) close() {
	c.Client.Close(errGivenUp)
	discard(c.conn, c.channels, c.requests)
}

// discard closes a connection that nobody serves. Its goroutines return when the
// transport has ended.
func discard(conn ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	_ = conn.Close()
	go ssh.DiscardRequests(requests)
	go func() {
		for range channels { //nolint:revive // drains until the transport has died
		}
		sshconn.TakeLeftover(conn)
	}()
}

// Connect gets one connection, to the first of the hosts that can be had. It returns nil
// if none can, and what has failed. One call is made at a time. It ends with ctx.
func (c *Connector) Connect(ctx context.Context, hosts []*Host) (*Connection, []Failure) {
	c.cfg.Auth().Unlock(ctx, c.log(hosts[0])) // before any clock is set, and without a turn
	if len(hosts) > 1 {
		if c.jump == nil {
			return c.raceTo(ctx, hosts)
		}
		// Before the clock is set that a host's answer is measured with.
		start := time.Now()
		if err := c.awaitJump(ctx); err != nil {
			return nil, c.failure(c.unreached(ctx, hosts[0], start), c.jumpError(hosts[0], err))
		}
		return c.raceTo(ctx, hosts)
	}
	a := c.approach(ctx, hosts[0], c.loadKeys, c.reach)
	defer a.end()
	err := a.err
	if err == nil {
		var connection *Connection
		if connection, err = c.logIn(a); err == nil {
			return connection, nil
		}
	}
	return nil, c.failure(a, err)
}

// Answers returns nil if a host can be connected to and sends an SSH banner. It logs in
// nowhere.
func (c *Connector) Answers(ctx context.Context, h *Host) error {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	a := c.approach(ctx, h, c.reach, c.awaitBanner)
	defer a.end()
	return a.err
}

// hostKeys returns which keys a host may have, and where the first is remembered.
func (c *Connector) hostKeys(h *Host) *hostkey.Config {
	keys := h.cfg.hostKeys()
	keys.TrustLoopback = keys.TrustLoopback && c.jump == nil
	if c.cfg.AcceptNewHostKey {
		keys.Memory = c.state().KeyMemory
	}
	for j := c.jump; j != nil; j = j.Via {
		keys.Via = append(keys.Via, hostkey.KnownName(j.Config.Address, j.Config.HostKeyAlias))
	}
	slices.Reverse(keys.Via)
	return keys
}

// log returns the logger in force, for lines about a host.
func (c *Connector) log(h *Host) *zap.Logger {
	return c.state().Logger.With(zap.String("tunnel", c.cfg.Name), zap.String("address", h.Address))
}

// dialJump connects to a host through the tunnel jumped through, for which it waits as
// long as that may take to connect.
func (c *Connector) dialJump(ctx context.Context, h *Host, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout+c.jump.budget(), failure.ErrConnectTimeout)
	defer cancel()
	return c.jump.Dial(ctx, h.Address)
}

// awaitJump waits until the tunnel jumped through is connected.
func (c *Connector) awaitJump(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.jump.budget(), failure.ErrConnectTimeout)
	defer cancel()
	return c.jump.Connect(ctx)
}

// jumpError is the error of a host that the tunnel jumped through does not reach.
func (c *Connector) jumpError(h *Host, err error) error {
	return failure.New(failure.ClassNetwork, failure.CauseJump, fmt.Errorf("connecting to %q through tunnel %q: %w", h.Address, c.jump.Config.Name, err))
}
