package sshtunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// dialerRig is an app, and a bastion that its tunnels lead to. Behind that, what is sent
// to echo.test:7 and /run/echo.sock comes back once the client has ended its stream, and
// held.test:7 says nothing.
type dialerRig struct {
	*sshtest.Bastion
	dialingApp
}

// newDialerRig provisions an app with the tunnels open, which permits any target, and
// limited, which permits echo.test:7 alone. Both have one connection. edit may add more.
func newDialerRig(t *testing.T, edit func(address string, tunnels map[string]*config.Tunnel)) *dialerRig {
	t.Helper()
	echo := sshtest.Listen(t, shout)
	b := sshtest.NewBastion(t, sshtest.BastionOptions{
		Password: "x",
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if refused, ok := refusals[address]; ok {
				return nil, refused
			}
			switch network + " " + address {
			case "tcp echo.test:7", "unix /run/echo.sock":
			case "tcp held.test:7": // takes no file
				conn, _ := net.Pipe()
				return conn, nil
			default:
				return nil, errors.New("an unexpected target")
			}
			return new(net.Dialer).DialContext(ctx, "tcp", echo)
		},
	})
	tunnels := make(map[string]*config.Tunnel)
	for _, name := range []string{"open", "limited"} {
		tunnels[name] = &config.Tunnel{
			Hosts: []string{"deploy@" + b.Addr()}, Password: "x", HostKeys: []string{b.HostKeyFingerprint()},
			Connections: &config.Connections{Min: 1, Max: 1}, Lazy: true,
		}
	}
	tunnels["limited"].PermitOpen = []string{"echo.test:7"}
	if edit != nil {
		edit(b.Addr(), tunnels)
	}
	return &dialerRig{b, provisionApp(t, tunnels)}
}

// shout sends back what a client has said, once that is all.
func shout(c net.Conn) {
	said, _ := io.ReadAll(c)
	_, _ = c.Write(bytes.ToUpper(said))
}

// dialingApp is an app whose dialers are tested.
type dialingApp struct{ *App }

// provisionApp returns an app that is not started.
func provisionApp(t *testing.T, tunnels map[string]*config.Tunnel) dialingApp {
	t.Helper()
	ctx, cancel := caddytest.NewContext(t)
	app := &App{App: config.App{Tunnels: tunnels}}
	t.Cleanup(func() {
		_ = app.Cleanup()
		cancel()
	})
	if err := app.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return dialingApp{app}
}

func (a dialingApp) start(t *testing.T) {
	t.Helper()
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop() })
}

// dialer returns the dialer of a tunnel.
func (a dialingApp) dialer(t *testing.T, name string) *Dialer {
	t.Helper()
	d, err := a.Dialer(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantEchoed sends something through a connection, and expects it back after the end of
// the stream.
func wantEchoed(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(sshtest.Patience))
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "HELLO" {
		t.Errorf("got %q, %v", got, err)
	}
}

func mustDial(t *testing.T, d *Dialer, network, address string) net.Conn {
	t.Helper()
	conn, err := d.DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestDialer dials hosts and sockets; and nothing is left of connections that have ended
// and of dials that were given up.
func TestDialer(t *testing.T) {
	rig := newDialerRig(t, nil)
	rig.start(t)
	d := rig.dialer(t, "open")
	wantEchoed(t, mustDial(t, d, "tcp", "echo.test:7"))
	before := goleak.IgnoreCurrent()
	for range 3 {
		wantEchoed(t, mustDial(t, d, "tcp", "echo.test:7"))
		wantEchoed(t, mustDial(t, d, "unix", "/run/echo.sock"))
	}
	conn := mustDial(t, d, "tcp", "echo.test:7")
	if addr := conn.RemoteAddr(); addr.Network() != "tcp" || addr.String() != "echo.test:7" {
		t.Errorf("the remote address is %s %s", addr.Network(), addr)
	}
	_ = conn.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := conn.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("reading after the deadline: %v", err)
	}
	_ = conn.Close()

	rig.Misbehave(sshtest.Faults{HoldOpens: true})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := d.DialContext(ctx, "tcp", "echo.test:7"); !isTimeout(err) {
		t.Errorf("an open that is not answered: %v", err)
	}
	rig.Misbehave(sshtest.Faults{})
	// Events wait for the configuration to be in force, which this one never is.
	emitter := goleak.IgnoreAnyFunction("github.com/caddy-ssh-tunnel/caddy-ssh-tunnel.(*emitter).run")
	sshtest.Eventually(t, sshtest.Patience, "the goroutines of connections and dials end", func() bool { return goleak.Find(before, emitter) == nil })
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// TestDialerFull: a dial through a tunnel with all the channels that it takes waits until
// its time is over, and then says so.
func TestDialerFull(t *testing.T) {
	rig := newDialerRig(t, nil)
	rig.start(t)
	d := rig.dialer(t, "open")
	for range 2000 {
		ctx, cancel := context.WithTimeout(t.Context(), sshtest.Patience)
		if rig.Stats().Channels >= 900 {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		conn, err := d.DialContext(ctx, "tcp", "held.test:7")
		cancel()
		if full, ok := errors.AsType[*FullError](err); ok {
			if full.Tunnel != "open" || full.Connections != 1 || full.Max != 1 || !strings.Contains(err.Error(), "raise the most in option connections") {
				t.Errorf("got %+v: %v", full, err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Error("the tunnel is never full")
}

// timedTunnel notes how long dials may take, and what is dialed.
type timedTunnel struct {
	caddytest.Tunnel
	limits  []time.Duration // 0 for none
	targets []tunnel.Target
}

func (f *timedTunnel) Dial(ctx context.Context, target tunnel.Target) (dialer.Channel, error) {
	limit := time.Duration(0)
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	f.limits, f.targets = append(f.limits, limit), append(f.targets, target)
	return nil, failure.ErrClosed
}

// TestDialerTimeout: the context's deadline limits a dial; without one, 10 seconds do. The
// connection is a stream.
func TestDialerTimeout(t *testing.T) {
	fake := new(timedTunnel)
	d := &Dialer{name: "prod", tunnel: fake}
	later, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for _, ctx := range []context.Context{t.Context(), later} {
		if _, err := d.DialContext(ctx, "tcp", "web:80"); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if short, long := fake.limits[0], fake.limits[1]; short > 10*time.Second || short < 9*time.Second || long > time.Hour || long < 59*time.Minute {
		t.Errorf("the limits are %v, want 10s and 1h", fake.limits)
	}
	if want := (tunnel.Target{Network: "tcp", Address: "web:80", Class: tunnel.Stream}); fake.targets[0] != want {
		t.Errorf("dialed %+v, want %+v", fake.targets[0], want)
	}
}

// TestDialerForClients: clients choose only where permit_open says which targets.
func TestDialerForClients(t *testing.T) {
	rig := newDialerRig(t, nil)
	if _, err := rig.dialer(t, "open").ForClients(); err == nil || !strings.Contains(err.Error(), `tunnel "open": clients choose the targets; add permit_open`) {
		t.Errorf("without permit_open: %v", err)
	}
	rig.start(t)
	d, err := rig.dialer(t, "limited").ForClients()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.DialContext(t.Context(), "tcp", "other.test:7"); !is[*DeniedError](err) {
		t.Errorf("got %v", err)
	}
	wantEchoed(t, mustDial(t, d, "tcp", "ECHO.test.:7"))

	fake := new(timedTunnel)
	d = &Dialer{tunnel: fake, forClients: true}
	_, _ = d.DialContext(t.Context(), "tcp", "web:80")
	if !fake.targets[0].ByClient {
		t.Error("the tunnel does not know that clients choose the host")
	}
}

// TestDialerHTTP: http.Transport dials with it, and asks nothing but the bastion to
// resolve the name.
func TestDialerHTTP(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{Name: "web"})
	b, block := newTunnel(t, "prod", hosts{"web.test:80": web.Addr()})
	serve(t, block(b.Addr()), "", "respond ok")
	d, err := LookupDialer(caddy.ActiveContext(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: d.DialContext}
	defer transport.CloseIdleConnections()
	for url, want := range map[string]int{"http://web.test/hello": 200, "http://other.test/hello": 0} {
		res, err := (&http.Client{Transport: transport}).Get(url)
		if want == 0 {
			if !is[*RefusedError](err) || !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %v", url, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := readAnswer(t, res); got.status != want || got.body != "hello from web\n" {
			t.Errorf("%s: got %+v", url, got)
		}
	}
}

// TestLookupDialer: a name that leads to no tunnel is an error that says why.
func TestLookupDialer(t *testing.T) {
	ctx, cancel := caddytest.NewContext(t)
	defer cancel()
	for name, want := range map[string]string{
		"":           "no tunnel given; name one of the global option ssh_tunnel",
		"{env.NAME}": "a tunnel's name cannot have placeholders",
		"prod":       `unknown tunnel "prod"; no tunnel is configured`,
	} {
		if _, err := LookupDialer(ctx, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
	rig := newDialerRig(t, nil)
	if _, err := rig.Dialer("opne"); err == nil || err.Error() != `unknown tunnel "opne"; configured: limited, open` {
		t.Errorf("got %v", err)
	}
}

// TestManualPlugin: the plugin in the manual is the one that is built and tested.
func TestManualPlugin(t *testing.T) {
	want := readFile(t, "internal/e2e/testdata/banner/banner.go")
	for _, f := range read(t, "docs/go-api.md").fences() {
		if f.lang == "go" && f.content == want {
			return
		}
	}
	t.Error("docs/go-api.md does not have internal/e2e/testdata/banner/banner.go")
}
