package pool

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// What tests use of package tunneltest.
var (
	bastionFor = tunneltest.Bastion
	configFor  = tunneltest.Config
	bubble     = tunneltest.Bubble
	listen     = sshtest.Listen
	echo       = tunneltest.Echo
	roundTrip  = tunneltest.RoundTrip
	within     = tunneltest.Within
	wantLost   = tunneltest.WantLost
	dialTo     = tunneltest.DialTo
	loggedIn   = tunneltest.LoggedIn
	freeAddr   = tunneltest.FreeAddr
	serve      = tunneltest.Serve
	echoBack   = tunneltest.EchoBack
	visit      = tunneltest.Visit
	serving    = tunneltest.Serving
)

// TestMain fails the package if a goroutine outlives its test's tunnel.
func TestMain(m *testing.M) {
	sshtest.Isolate()
	goleak.VerifyTestMain(m)
}

// onlyConfiguration is that of a pool that open returns, and its owner.
type onlyConfiguration struct{}

// Forget implements Owner.
func (onlyConfiguration) Forget(mayEnd func() bool) bool { return mayEnd() }

// Ended implements Owner.
func (onlyConfiguration) Ended() {}

// open returns a pool with one configuration, which ends before the test does.
func open(t testing.TB, cfg connect.Config, set Settings) *Pool {
	t.Helper()
	p := start(cfg, set, nil)
	t.Cleanup(func() { closeAndWait(t, p) })
	return p
}

// start returns a pool with one configuration, through a jump if that is not nil.
func start(cfg connect.Config, set Settings, jump *connect.Jump) *Pool {
	set = set.WithDefaults()
	p := New(cfg, set, jump, onlyConfiguration{})
	p.Hold()
	p.Configure(onlyConfiguration{}, set)
	return p
}

// jumpThrough returns a jump through a pool.
func jumpThrough(p *Pool) *connect.Jump {
	return &connect.Jump{
		Config: &p.cfg, Key: p.cfg.Key(""),
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			c, err := p.Dial(ctx, Target{Network: "tcp", Address: address, Class: Stream, Patient: true})
			if err != nil {
				return nil, err // not a nil *Conn
			}
			return c, nil
		},
		Connect: func(ctx context.Context) error { return p.Connect(ctx, true) },
		Timeout: p.ConnectTimeout,
	}
}

// listenRemote listens through a tunnel, until the test ends.
func listenRemote(t testing.TB, p *Pool, network, addr string) *remote.Listener {
	t.Helper()
	ln, err := p.Listen(onlyConfiguration{}, network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// leave takes its configuration from a pool.
func leave(p *Pool) {
	p.Unconfigure(onlyConfiguration{})
	p.Release()
}

// closeAndWait ends a pool, and waits for its end.
func closeAndWait(t testing.TB, p *Pool) {
	t.Helper()
	leave(p)
	p.Finish()
	sshtest.Eventually(t, 10*time.Second, "the tunnel's end", p.AtRest)
}

// bench is a tunnel to an embedded bastion, with a connection between them.
type bench struct {
	key     *sshtest.Key
	bastion *sshtest.Bastion
	link    *sshtest.Link
	cfg     connect.Config
	*Pool
}

func newBench(t testing.TB, set Settings, mutate func(*sshtest.BastionOptions)) *bench {
	t.Helper()
	b := &bench{key: sshtest.NewKey()}
	b.bastion = bastionFor(t, b.key, mutate)
	b.link = sshtest.NewLink(t, b.bastion.Addr())
	b.cfg = configFor(t, b.key, b.bastion.HostKeyFingerprint(), b.link.Addr())
	b.Pool = open(t, b.cfg, set)
	return b
}

// mustDial opens a channel or fails the test.
func mustDial(t testing.TB, p *Pool, addr string) *Conn {
	t.Helper()
	return tunneltest.MustDial(t, p, Target{Network: "tcp", Address: addr})
}

func dialFor(t testing.TB, p *Pool, addr string, timeout time.Duration) (*Conn, error) {
	t.Helper()
	return tunneltest.Dial(t, p, Target{Network: "tcp", Address: addr}, timeout)
}

// observed returns settings' logger and what is logged to it.
func observed(set *Settings) *observer.ObservedLogs { return tunneltest.Log(&set.Logger) }

// quick are settings that keep tests short.
func quick() Settings {
	return Settings{ReconnectMin: 10 * time.Millisecond, ReconnectMax: 100 * time.Millisecond, Linger: -1, ServerAliveInterval: time.Minute}
}

// only returns the connection of a pool that has one, or nil. The caller holds
// mu.
func (p *Pool) only() *member {
	if active := p.active(); len(active) > 0 {
		return active[0]
	}
	return nil
}

// linkOf is the connection that a channel is on.
func linkOf(c *Conn) *member { return c.Owner().(*member) }

// waitGone waits until a connection has drained.
func waitGone(t testing.TB, h *Pool, m *member) {
	t.Helper()
	sshtest.Eventually(t, 10*time.Second, "the end of a connection", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return !slices.Contains(h.members, m)
	})
}
