package tunnel

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
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

// TestMain fails the package if a goroutine outlives its test's tunnel. Those of
// TestMaliceLeaks's own process may: see there. So may that which keeps a lock of a
// storage fresh, for 5 seconds.
func TestMain(m *testing.M) {
	sshtest.Isolate()
	if os.Getenv(maliceEnv) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// quick are settings that keep tests short.
func quick() Settings {
	return Settings{ReconnectMin: 10 * time.Millisecond, ReconnectMax: 100 * time.Millisecond, Linger: -1, ServerAliveInterval: time.Minute}
}

// observed returns settings' logger and what is logged to it.
func observed(set *Settings) *observer.ObservedLogs { return tunneltest.Log(&set.Logger) }

// open returns a started handle that is closed, with its connections, before
// the test ends.
func open(t testing.TB, cfg Config, set Settings) *Handle {
	t.Helper()
	h := Open(cfg, set, nil)
	h.Start()
	t.Cleanup(func() { closeAndWait(t, h) })
	return h
}

// closeAndWait closes a handle and, unless others hold its tunnel, ends that
// and waits for its end.
func closeAndWait(t testing.TB, h *Handle) {
	t.Helper()
	h.Close()
	h.pool.Finish()
	sshtest.Eventually(t, 10*time.Second, "the tunnel's end", h.pool.AtRest)
}

// bench is a tunnel to an embedded bastion, with a connection between them.
type bench struct {
	key     *sshtest.Key
	bastion *sshtest.Bastion
	link    *sshtest.Link
	cfg     Config
	*Handle
}

func newBench(t testing.TB, set Settings, mutate func(*sshtest.BastionOptions)) *bench {
	t.Helper()
	b := &bench{key: sshtest.NewKey()}
	b.bastion = bastionFor(t, b.key, mutate)
	b.link = sshtest.NewLink(t, b.bastion.Addr())
	b.cfg = configFor(t, b.key, b.bastion.HostKeyFingerprint(), b.link.Addr())
	b.Handle = open(t, b.cfg, set)
	return b
}

// postpone makes the next attempt to connect be far away, as after many failures.
func postpone(h *Handle) {
	connector := connect.New(h.cfg, h.jump.asJump(), nil, nil, nil, nil)
	defer connector.Close()
	host := connector.Hosts()[0]
	login := host.Login(connect.Pace{})
	host.Limiter.Postpone(login.Credentials, time.Now().Add(time.Hour))
	host.Limiter.Postpone(login.HostKeys, time.Now().Add(time.Hour))
}

// isUp reports whether a tunnel is connected.
func isUp(h *Handle) bool { return h.Status().State == report.StateUp }

// mustDial opens a channel or fails the test.
func mustDial(t testing.TB, h *Handle, addr string) *Conn {
	t.Helper()
	return tunneltest.MustDial(t, h, Target{Network: "tcp", Address: addr})
}

func dialFor(t testing.TB, h *Handle, addr string, timeout time.Duration) (*Conn, error) {
	t.Helper()
	return tunneltest.Dial(t, h, Target{Network: "tcp", Address: addr}, timeout)
}
