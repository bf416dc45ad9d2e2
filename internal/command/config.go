package command

// config.go reads the configuration that a running Caddy would have, for
// commands that look at its tunnels and start nothing of it.

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/autokey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/need"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// configFlags say which configuration: the one that `caddy run` takes with the
// same flags.
type configFlags struct{ file, adapter string }

// add adds the flags to those of a command. usage is that of --config.
func (f *configFlags) add(cmd *cobra.Command, flags *pflag.FlagSet, usage string) {
	flags.StringVarP(&f.file, "config", "c", "", usage)
	flags.StringVarP(&f.adapter, "adapter", "a", "", "the `name` of the configuration's adapter")
	_ = cmd.RegisterFlagCompletionFunc("adapter", cobra.FixedCompletions([]string{"caddyfile"}, cobra.ShellCompDirectiveNoFileComp))
}

// commandConfig is a configuration, of which the tunnels are of interest.
type commandConfig struct {
	file    string
	raw     []byte // all of it
	app     json.RawMessage
	ctx     caddy.Context // of no app, with the storage
	tunnels []string      // their names, in order
}

// read reads the configuration, which is empty if there is none. Nothing is logged
// from here on, to stderr or to where the configuration's logs go: what there is to
// say, the command does.
func (f *configFlags) read() (*commandConfig, error) {
	caddy.BufferedLog() // what is in there is never written
	raw, file, _, err := caddycmd.LoadConfig(f.file, f.adapter)
	if err != nil {
		return nil, err
	}
	c := &commandConfig{file: file}
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
func (c *commandConfig) take(raw []byte) (storage json.RawMessage, err error) {
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

// load is read for a configuration that has tunnels.
func (f *configFlags) load() (*commandConfig, error) {
	c, err := f.read()
	if err != nil {
		return nil, err
	}
	if len(c.raw) == 0 {
		return nil, errors.New("no configuration: there is no Caddyfile in this directory; name a file with --config")
	}
	app, err := c.decode()
	if err != nil {
		return nil, err
	}
	if c.tunnels = slices.Sorted(maps.Keys(app.Tunnels)); len(c.tunnels) == 0 {
		return nil, fmt.Errorf("no tunnel is configured in %s; add one to the global option ssh_tunnel", cmp.Or(c.file, "the configuration"))
	}
	return c, nil
}

// storage returns the storage of the configuration.
func (c *commandConfig) storage() keystorage.Storage {
	return keystorage.Storage{Storage: c.ctx.Storage()}
}

// decode returns the app as it is written.
func (c *commandConfig) decode() (*config.App, error) {
	app := new(config.App)
	if len(c.app) == 0 {
		return app, nil
	}
	if err := caddy.StrictUnmarshalJSON(c.app, app); err != nil {
		return nil, fmt.Errorf("reading apps/ssh_tunnel: %w", err)
	}
	return app, nil
}

// resolve checks all tunnels, as `caddy validate` does. Its errors are not wrapped in
// Caddy's, which say less.
func (c *commandConfig) resolve() error {
	app, err := c.decode()
	if err != nil {
		return err
	}
	_, err = app.Resolve(c.ctx.Logger())
	return err
}

// resolveOne returns a tunnel, and checks no others but those that it goes through.
// change, unless it is nil, may change the configuration before.
func (c *commandConfig) resolveOne(change func(*config.App), name string) (*config.Resolved, error) {
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
	if change != nil {
		change(app)
	}
	tunnels, err := app.Resolve(c.ctx.Logger())
	if err != nil {
		return nil, err
	}
	t := tunnels[len(tunnels)-1] // the others come before it
	for _, hop := range t.Chain() {
		if hop.Config.AcceptNewHostKey {
			hop.Settings.KeyMemory = c.storage()
		}
		if hop.Config.Auth().GeneratedName() != "" {
			hop.Settings.KeyStore = readOnlyKeys{autokey.Storage{Storage: c.ctx.Storage()}}
		}
	}
	return t, nil
}

// uses returns what the configuration uses a tunnel for. The bastions of tunnels that jump
// through it are targets, too.
func (c *commandConfig) uses(t *config.Resolved) *need.Uses {
	u := need.Find(c.raw, t)
	app, _ := c.decode()
	for _, name := range c.tunnels {
		other := app.Tunnels[name]
		if other == nil || caddy.NewReplacer().ReplaceKnown(other.ProxyJump, "") != t.Config.Name {
			continue
		}
		var addresses []string
		if resolved, err := c.resolveOne(nil, name); err == nil {
			chain := resolved.Chain()
			at := slices.IndexFunc(chain, func(hop *config.Resolved) bool { return hop.Config.Name == t.Config.Name })
			addresses = chain[at+1].Config.Addresses()
		} else { // it is not in order; what is written may be
			for _, host := range other.Hosts {
				if bastion, err := hostport.ParseServer(host); err == nil {
					addresses = append(addresses, bastion.Address())
				}
			}
		}
		for _, address := range addresses {
			u.Add("proxy_jump of "+name, tunnel.Target{Network: "tcp", Address: address})
		}
	}
	return u
}

// names checks the names of tunnels that were typed. None is all.
func (c *commandConfig) names(typed []string) ([]string, error) {
	if len(typed) == 0 {
		return c.tunnels, nil
	}
	for _, name := range typed {
		if !slices.Contains(c.tunnels, name) {
			return nil, dialer.UnknownTunnel(name, c.tunnels)
		}
	}
	return slices.Compact(slices.Clone(typed)), nil
}

// complete completes the names of tunnels.
func (f *configFlags) complete(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := f.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return without(c.tunnels, args), cobra.ShellCompDirectiveNoFileComp
}
