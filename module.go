// Package sshtunnel lets Caddy reach hosts behind an SSH bastion.
//
// The app ssh_tunnel owns named tunnels: it connects to their bastions,
// verifies and authenticates, keeps the connections alive and replaces them.
// The reverse_proxy transport ssh_tunnel and the listener wrapper ssh_tunnel
// borrow channels from them, and so do their own forwards of raw connections
// and the command `caddy ssh-tunnel forward`. The network ssh_tunnel has a
// bastion listen for a site.
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

// module.go contains the app: its lifecycle, and how other modules find a
// tunnel in it.

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func init() {
	caddy.RegisterModule(App{})
}

// App keeps SSH tunnels to bastions, through which other modules reach what
// lies behind these: the reverse proxy's transport `ssh_tunnel` and the
// listener wrapper `ssh_tunnel`. It forwards raw connections through them by
// itself, as `ssh -L`, `-R` and `-D` do.
//
// Tunnels connect in the background when the configuration starts; a bastion
// that is down does not keep it from starting. A tunnel that a new
// configuration leaves as it was keeps its connections, and all that goes on
// through them.
type App struct {
	// The tunnels, by name. A name may have letters, digits, dots, underscores
	// and hyphens. Default: none.
	Tunnels map[string]*Tunnel `json:"tunnels,omitempty"`

	// How long raw connections, of forwards and the listener wrapper, may go on
	// when the process exits. Those that have not ended by then are reset. 0 resets
	// them at once. The time runs from the beginning of the exit, as that of the
	// `http` app does, and after its `shutdown_delay`. Default: the `grace_period`
	// of the `http` app, or `3s` if it has none, as where there are no sites.
	GracePeriod *caddy.Duration `json:"grace_period,omitempty"`

	ctx    caddy.Context
	logger *zap.Logger
	events *emitter
	opened []*Tunnel // those that have a handle; each after the tunnel it jumps through

	forwards []openForward // those of all tunnels, between Start and Stop
	exit     *exit
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
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
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	events, err := newEmitter(ctx, a)
	if err != nil {
		return err
	}
	a.events = events
	if a.GracePeriod != nil {
		r := new(resolver)
		if r.duration("grace_period", *a.GracePeriod); r.err != nil {
			return r.err
		}
	}
	if err := a.watchExit(ctx); err != nil {
		return err
	}

	files := newSSHConfigReader(a.logger)
	claimed := make(map[string]string) // who listens, by address
	for _, name := range slices.Sorted(maps.Keys(a.Tunnels)) {
		if err := checkTunnelName(name); err != nil {
			return err
		}
		t := a.Tunnels[name]
		if t == nil {
			return fmt.Errorf("tunnel %q: empty; give it hosts", name)
		}
		if err := t.provision(name, a.logger, files); err != nil {
			return fmt.Errorf("tunnel %q: %w", name, err)
		}
		if err := t.claimAddresses(name, claimed); err != nil {
			return err
		}
	}

	if err := moveChallenges(ctx); err != nil {
		return err
	}
	order, err := jumpOrder(a.Tunnels)
	if err != nil {
		return err
	}
	for _, name := range order {
		t := a.Tunnels[name]
		var jump *tunnel.Handle
		if t.jump != "" {
			through := a.Tunnels[t.jump]
			for _, address := range t.config.Addresses() {
				if err := checkPermitted(through.permission, tunnel.Target{Network: "tcp", Address: address}); err != nil {
					return fmt.Errorf("tunnel %q: proxy_jump: %w", name, err)
				}
			}
			jump = through.h
		}
		for _, hop := range t.hops {
			a.furnish(hop)
			hop.h = tunnel.Open(hop.config, hop.settings, jump)
			a.opened = append(a.opened, hop)
			jump = hop.h
		}
		a.furnish(t)
		t.h = tunnel.Open(t.config, t.settings, jump)
		a.opened = append(a.opened, t)
	}
	return nil
}

// furnish gives a tunnel what it needs of Caddy: where to tell what happens to it
// and, if it learns its bastion's host key, the storage to keep that in.
func (a *App) furnish(t *Tunnel) {
	if a.events != nil {
		t.settings.Observer = a.events
	}
	if t.config.AcceptNewHostKey {
		t.settings.KeyMemory = keyStorage{a.ctx.Storage()}
	}
}

// Start has the forwards listen and lets the tunnels connect, for which it does
// not wait.
func (a *App) Start() error {
	if err := a.openForwards(); err != nil {
		return err
	}
	for _, t := range a.opened {
		t.h.Start()
	}
	a.serveForwards()
	return nil
}

// Stop has the forwards listen no longer, unless the next configuration does.
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
		t.h.Close()
	}
	if a.events != nil {
		a.events.close()
	}
	return nil
}

// lookupTunnel returns the named tunnel of the configuration that ctx belongs
// to. It may be called from any module's Provision: the app is provisioned
// first if it has not been yet.
func lookupTunnel(ctx caddy.Context, name string) (*Tunnel, error) {
	app, err := ctx.AppIfConfigured("ssh_tunnel")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, fmt.Errorf("unknown tunnel %q; no tunnel is configured: add the global option ssh_tunnel", name)
	}
	if err != nil {
		return nil, err
	}
	a := app.(*App)
	t, ok := a.Tunnels[name]
	if !ok {
		return nil, unknownTunnel(name, a.Tunnels)
	}
	return t, nil
}

// unknownTunnel is the error for a name that no tunnel has.
func unknownTunnel(name string, tunnels map[string]*Tunnel) error {
	if len(tunnels) == 0 {
		return fmt.Errorf("unknown tunnel %q; no tunnel is configured: add one to the global option ssh_tunnel", name)
	}
	return unknownName(name, slices.Sorted(maps.Keys(tunnels)))
}

// unknownName is unknownTunnel where there are some.
func unknownName(name string, names []string) error {
	return fmt.Errorf("unknown tunnel %q; configured: %s", name, strings.Join(names, ", "))
}

// checkTunnelName keeps names to what is the same in a Caddyfile, a URL's path
// and a network address.
func checkTunnelName(name string) error {
	for _, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		digit := '0' <= r && r <= '9'
		if !letter && !digit && !strings.ContainsRune("._-", r) {
			return fmt.Errorf("tunnel name %s has a %q; use letters, digits, dots, underscores and hyphens", redact.Quote(name), r)
		}
	}
	if strings.Trim(name, ".") == "" {
		return fmt.Errorf("tunnel name %q has no letter or digit", name)
	}
	if err := redact.Check(name); err != nil {
		return fmt.Errorf("tunnel name: %w", err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
