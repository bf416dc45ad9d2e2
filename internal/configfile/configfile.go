// Package configfile reads the configuration that `caddy run` would have, for commands that
// look at its tunnels, and finds out what it uses a tunnel for. It starts nothing of it,
// connects to nothing, and changes neither the file nor the storage. The commands and
// package doctor import it.
package configfile

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/autokey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
)

// Config is a configuration, of which the tunnels are of interest.
type Config struct {
	// Path is the file that it was read from, or "".
	Path string
	// Tunnels are the names of its tunnels, in order.
	Tunnels []string

	raw []byte // all of it
	app json.RawMessage
	ctx caddy.Context // of no app, with the storage
}

// Read reads the configuration that `caddy run` takes with the flags --config and --adapter,
// each of which may be "". It is empty if there is none. Nothing is logged from here on, to
// stderr or to where the configuration's logs go: what there is to say, the command does.
func Read(path, adapter string) (*Config, error) {
	caddy.BufferedLog() // what is in there is never written
	raw, file, _, err := caddycmd.LoadConfig(path, adapter)
	if err != nil {
		return nil, err
	}
	c := &Config{Path: file}
	storage, err := c.take(raw)
	if err != nil {
		return nil, err
	}
	discard := &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: caddyconfig.JSONModuleObject(caddy.DiscardWriter{}, "output", "discard", nil)}},
	}}
	c.ctx, err = caddy.ProvisionContext(&caddy.Config{Logging: discard, StorageRaw: storage})
	return c, err
}

// take takes a configuration, and returns what it says about the storage.
func (c *Config) take(raw []byte) (storage json.RawMessage, err error) {
	var whole struct {
		Storage json.RawMessage            `json:"storage"`
		Apps    map[string]json.RawMessage `json:"apps"`
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &whole); err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
	}
	c.raw, c.app = raw, whole.Apps["ssh_tunnel"]
	return whole.Storage, nil
}

// Load is Read for a configuration that has tunnels. It is an error if there is none.
func Load(path, adapter string) (*Config, error) {
	c, err := Read(path, adapter)
	if err != nil {
		return nil, err
	}
	if len(c.raw) == 0 {
		return nil, errors.New("no configuration: there is no Caddyfile in this directory; name a file with --config")
	}
	if err := c.findTunnels(); err != nil {
		return nil, err
	}
	if len(c.Tunnels) == 0 {
		return nil, fmt.Errorf("no tunnel is configured in %s; add one to the global option ssh_tunnel", cmp.Or(c.Path, "the configuration"))
	}
	return c, nil
}

// Replace replaces the configuration by another, as JSON. The storage stays.
func (c *Config) Replace(raw []byte) error {
	if _, err := c.take(raw); err != nil {
		return err
	}
	return c.findTunnels()
}

// findTunnels finds out which tunnels there are.
func (c *Config) findTunnels() error {
	app, err := c.decode()
	if err == nil {
		c.Tunnels = slices.Sorted(maps.Keys(app.Tunnels))
	}
	return err
}

// HostKeys returns the learned host keys in the configuration's storage.
func (c *Config) HostKeys() keystorage.Storage {
	return keystorage.Storage{Storage: c.ctx.Storage()}
}

// GeneratedKeys returns the keys of `identity auto` in the configuration's storage.
func (c *Config) GeneratedKeys() autokey.Storage {
	return autokey.Storage{Storage: c.ctx.Storage()}
}

// decode returns the app as it is written.
func (c *Config) decode() (*config.App, error) {
	app := new(config.App)
	if len(c.app) == 0 {
		return app, nil
	}
	if err := caddy.StrictUnmarshalJSON(c.app, app); err != nil {
		return nil, fmt.Errorf("reading apps/ssh_tunnel: %w", err)
	}
	return app, nil
}

// Check checks all tunnels, as `caddy validate` does. Its errors are not wrapped in
// Caddy's, which say less.
func (c *Config) Check() error {
	app, err := c.decode()
	if err != nil {
		return err
	}
	_, err = app.Resolve(c.ctx.Logger())
	return err
}

// Resolve returns a tunnel, and checks no others but those that it goes through. A login
// generates, replaces and deletes no key of `identity auto`. With accept-new, its KeyMemory
// is that of the storage, which it may change.
func (c *Config) Resolve(name string) (*config.Resolved, error) {
	return c.ResolveChanged(name, func(*config.App) {})
}

// ResolveChanged is Resolve of what change makes of the configuration, which stays.
func (c *Config) ResolveChanged(name string, change func(*config.App)) (*config.Resolved, error) {
	return c.resolve(c.ctx.Logger(), name, change)
}

// ResolveWarned is Resolve, with the warnings that Caddy logs when it loads the tunnel.
func (c *Config) ResolveWarned(name string) (t *config.Resolved, warnings []string, err error) {
	collect := func(entry zapcore.Entry) error {
		warnings = append(warnings, entry.Message)
		return nil
	}
	discard := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.WarnLevel)
	t, err = c.resolve(zap.New(zapcore.RegisterHooks(discard, collect)), name, func(*config.App) {})
	return t, warnings, err
}

// resolve is ResolveChanged with a logger.
func (c *Config) resolve(log *zap.Logger, name string, change func(*config.App)) (*config.Resolved, error) {
	app, err := c.decode()
	if err != nil {
		return nil, err
	}
	onTheWay := map[string]*config.Tunnel{name: app.Tunnels[name]}
	for t := app.Tunnels[name]; t != nil; { // JSON may have a null
		jump := caddy.NewReplacer().ReplaceKnown(t.ProxyJump, "")
		if t = app.Tunnels[jump]; t == nil || onTheWay[jump] == t {
			break
		}
		onTheWay[jump] = t
	}
	app.Tunnels = onTheWay
	change(app)
	tunnels, err := app.Resolve(log)
	if err != nil {
		return nil, err
	}
	t := tunnels[len(tunnels)-1] // the others come before it
	for _, hop := range t.Chain() {
		if hop.Config.AcceptNewHostKey {
			hop.Settings.KeyMemory = c.HostKeys()
		}
		if hop.Config.Auth().GeneratedName() != "" {
			hop.Settings.KeyStore = readOnlyKeys{c.GeneratedKeys()}
		}
	}
	return t, nil
}

// Select checks the names of tunnels that were typed, and returns them. None is all. An
// unknown one is an error that lists those that there are.
func (c *Config) Select(typed []string) ([]string, error) {
	if len(typed) == 0 {
		return c.Tunnels, nil
	}
	var names []string // each once, in the order in which they were typed
	for _, name := range typed {
		if !slices.Contains(c.Tunnels, name) {
			return nil, dialer.UnknownTunnel(name, c.Tunnels)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}
