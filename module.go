// Package sshtunnel lets Caddy reach hosts behind an SSH bastion.
//
// The app ssh_tunnel manages named tunnels: it connects to their bastions,
// verifies host keys, authenticates, keeps the connections alive and replaces
// them. The reverse_proxy transport ssh_tunnel, its dynamic upstreams ssh_tunnel, the
// listener wrapper ssh_tunnel, the app's own forwards and the command `caddy ssh-tunnel
// forward` open channels on these connections. With the network ssh_tunnel, a site
// listens on a bastion. Other plugins dial through a tunnel with LookupDialer.
//
//	{
//		ssh_tunnel {
//			tunnel prod deploy@bastion.example.com
//		}
//	}
//
//	app.example.com {
//		reverse_proxy web.internal:80 {
//			transport ssh_tunnel prod
//		}
//	}
package sshtunnel

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/autokey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/bind"
	_ "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/command" // registers itself
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/listen"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/statuspage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
	_ "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport" // registers itself
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
	_ "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/upstreams" // registers itself
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.OnExit(func(context.Context) { subprocess.EndForGood() }) // after the apps have stopped
	dialer.SetLookup(func(app caddy.App, name string) (dialer.Dialer, error) {
		t, err := app.(*App).tunnel(name)
		if err != nil {
			return nil, err
		}
		return t.dialer(), nil
	})
	statuspage.SetSource(func(app caddy.App) statuspage.Source { return statusSource{app.(*App)} })
}

// App manages SSH connections to bastions, through which other modules dial.
//
// These modules are the transport and the dynamic upstreams `ssh_tunnel` of
// `reverse_proxy`, the listener wrapper `ssh_tunnel`, and other plugins. A site can
// listen on a bastion with the network address `ssh_tunnel/<tunnel>/*:443`. The app
// itself forwards raw connections, as `ssh -L`, `-R` and `-D` do.
//
// Tunnels connect in the background when the configuration starts. A bastion that
// is down does not keep Caddy from starting. A reload that does not change a
// tunnel keeps its connections, with all requests and streams on them.
//
// ### Events
//
// The app emits these events, whose data is available to handlers as
// `{event.data.*}`. All have `tunnel` and `address`. Durations are in seconds.
//
// Event | When | Data
// ------|------|------
// `ssh_tunnel_connected` | The tunnel has a connection, and had none. | `reconnected`, `duration`, `remote`, `user`, `server`, `auth`, `host_key`, `kex`, `cipher`; after a loss, `downtime`; with a certificate, `certificate_expires`
// `ssh_tunnel_lost` | The last connection was lost. | `error`, `duration`, `channels`
// `ssh_tunnel_refused` | The bastion refused the login, or its host key was refused. | `error`, `cause`, `attempt`, `retry_in`
// `ssh_tunnel_certificate_expiring` | A certificate expires soon, or has expired, and was not renewed. | `certificate`, `path`, `expires`, `remaining`
type App struct {
	config.App

	ctx    caddy.Context
	logger *zap.Logger
	events *emitter
	opened []*openTunnel // each after the one that it goes through
	// started is closed by Start, once the forwards are open.
	started chan struct{}

	forwards []listen.Lease // those of all tunnels, between Start and Stop
	// exitEnd is when raw connections are reset that have not ended; zero as long as
	// the process does not exit.
	exitEnd time.Time
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo { // of a value, it would copy the app beside whatever changes it
	return caddy.ModuleInfo{
		ID:  "ssh_tunnel",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks every tunnel and takes a handle on it. It reads the files
// that the tunnels name, but opens no connection and asks no agent: modules of
// the same configuration may look tunnels up from here on, and
// `caddy validate` goes no further.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.started = make(chan struct{})
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	a.events = newEmitter(ctx, a)
	tunnels, err := a.Resolve(a.logger)
	if err != nil {
		return err
	}
	handles := make(map[*config.Resolved]*tunnel.Handle)
	for _, t := range tunnels {
		jump := handles[t.Via]
		for _, hop := range append(slices.Clone(t.Hops), t) {
			jump = a.open(hop, jump)
			handles[hop] = jump
		}
	}

	// These provision other apps, whose modules may look tunnels up.
	if err := a.watchExit(ctx); err != nil {
		return err
	}
	return contract.MoveChallenges(ctx, bind.Network)
}

// Validate refuses what is wrong between the app and the sites of its configuration, of
// either of which Caddy may provision the other first.
func (a *App) Validate() error {
	if err := a.checkSites(); err != nil {
		return err
	}
	return a.checkDescriptors()
}

// openTunnel is a tunnel that has a handle: one of the configuration, or a host that
// ssh_config jumps through.
type openTunnel struct {
	*config.Resolved
	handle *tunnel.Handle
	logger *zap.Logger
	// started is closed once the app has started. Until then, only Start uses remote.
	started <-chan struct{}
	remote  []*remote.Listener // of RemoteForwards, once they are open
}

// open takes a handle on a tunnel, which goes through another unless jump is nil.
func (a *App) open(t *config.Resolved, jump *tunnel.Handle) *tunnel.Handle {
	t.Settings.Observer = a.events
	if t.Config.AcceptNewHostKey {
		t.Settings.KeyMemory = keystorage.Storage{Storage: a.ctx.Storage()}
	}
	if t.Config.Auth().GeneratedName() != "" {
		t.Settings.KeyStore = autokey.Storage{Storage: a.ctx.Storage()}
	}
	opened := &openTunnel{
		Resolved: t,
		handle:   tunnel.Open(t.Config, t.Settings, jump),
		logger:   a.logger.With(zap.String("tunnel", t.Config.Name)),
		started:  a.started,
	}
	a.opened = append(a.opened, opened)
	return opened.handle
}

// Start opens the forwards and lets the tunnels connect, for which it does
// not wait.
func (a *App) Start() error {
	if err := a.openForwards(); err != nil {
		return err
	}
	for _, t := range a.opened {
		t.handle.Start()
	}
	for _, f := range a.forwards {
		f.Serve()
	}
	close(a.started)
	return nil
}

// Stop stops the forwards' listening, unless the next configuration listens there.
// It closes no tunnel: requests of this configuration may still go on, or
// start, while the HTTP app drains. It does not wait for raw connections when the
// process exits: other apps have yet to stop, and their time would begin when
// that of these is over. Cleanup does.
func (a *App) Stop() error {
	a.beginExit()
	a.stopForwards()
	return nil
}

// Cleanup lets the tunnels go. One that the next configuration has as well
// stays connected; any other ends once its channels have, or at its
// drain_timeout. Cleanup does not wait for that, and also follows a Provision
// that failed half-way. When the process exits it waits for the raw connections,
// which may need the tunnels.
func (a *App) Cleanup() error {
	a.stopForwards()
	a.awaitConns()
	for _, t := range slices.Backward(a.opened) {
		t.handle.Close()
	}
	return nil
}

// tunnelOf returns the named tunnel of the configuration that ctx belongs to.
func tunnelOf(ctx caddy.Context, name string) (*openTunnel, error) {
	app, err := dialer.LookupApp(ctx, name)
	if err != nil {
		return nil, err
	}
	return app.(*App).tunnel(name)
}

// tunnel returns the tunnel of a name.
func (a *App) tunnel(name string) (*openTunnel, error) {
	if _, ok := a.Tunnels[name]; !ok {
		return nil, dialer.UnknownTunnel(name, slices.Sorted(maps.Keys(a.Tunnels)))
	}
	// A hop's name has a space, so it is none that is configured.
	i := slices.IndexFunc(a.opened, func(t *openTunnel) bool { return t.Config.Name == name })
	return a.opened[i], nil
}

// dialer returns what dials through the tunnel.
func (t *openTunnel) dialer() dialer.Dialer { return dialer.New(t.handle, t.Permission) }

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
