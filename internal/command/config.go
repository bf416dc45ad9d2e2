package command

// config.go reads the configuration that a running Caddy would have, for
// commands that look at its tunnels and start nothing of it.

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
)

// configFlags say which configuration: the one that `caddy run` takes with the
// same flags.
type configFlags struct{ file, adapter string }

// add adds the flags to a command.
func (f *configFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.file, "config", "c", "", "the `file` of the configuration (default: Caddyfile in this directory)")
	cmd.Flags().StringVarP(&f.adapter, "adapter", "a", "", "the `name` of the configuration's adapter")
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

// load reads the configuration. Nothing is logged from here on, to stderr or to
// where the configuration's logs go: what there is to say, the command does.
func (f *configFlags) load() (*commandConfig, error) {
	caddy.BufferedLog() // what is in there is never written
	raw, file, _, err := caddycmd.LoadConfig(f.file, f.adapter)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("no configuration: there is no Caddyfile in this directory; name a file with --config")
	}
	var whole struct {
		Storage json.RawMessage            `json:"storage"`
		Apps    map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(raw, &whole); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	c := &commandConfig{file: file, raw: raw, app: whole.Apps["ssh_tunnel"]}
	app, err := c.decode()
	if err != nil {
		return nil, err
	}
	if c.tunnels = slices.Sorted(maps.Keys(app.Tunnels)); len(c.tunnels) == 0 {
		return nil, fmt.Errorf("no tunnel is configured in %s; add one to the global option ssh_tunnel", cmp.Or(file, "the configuration"))
	}
	discard := &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: caddyconfig.JSONModuleObject(caddy.DiscardWriter{}, "output", "discard", nil)}},
	}}
	c.ctx, err = caddy.ProvisionContext(&caddy.Config{Logging: discard, StorageRaw: whole.Storage})
	return c, err
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

// resolve returns the named tunnels and those that they jump through, or else all.
// change may change the configuration before. Errors are those of `caddy validate`,
// and not wrapped in Caddy's, which say less.
func (c *commandConfig) resolve(change func(*config.App), names ...string) ([]*config.Resolved, error) {
	app, err := c.decode()
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		keep := map[string]bool{}
		for _, name := range names {
			for !keep[name] {
				keep[name] = true
				if t := app.Tunnels[name]; t != nil {
					name = caddy.NewReplacer().ReplaceKnown(t.ProxyJump, "")
				}
			}
		}
		maps.DeleteFunc(app.Tunnels, func(name string, _ *config.Tunnel) bool { return !keep[name] })
	}
	if change != nil {
		change(app)
	}
	tunnels, err := app.Resolve(c.ctx.Logger())
	for _, t := range tunnels {
		for _, hop := range t.Chain() {
			if hop.Config.AcceptNewHostKey {
				hop.Settings.KeyMemory = keystorage.Storage{Storage: c.ctx.Storage()}
			}
		}
	}
	return tunnels, err
}

// resolveOne returns a tunnel, and knows those that it goes through.
func (c *commandConfig) resolveOne(change func(*config.App), name string) (*config.Resolved, error) {
	tunnels, err := c.resolve(change, name)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(tunnels, func(t *config.Resolved) bool { return t.Config.Name == name })
	return tunnels[i], nil
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
	return slices.DeleteFunc(c.tunnels, func(name string) bool { return slices.Contains(args, name) }), cobra.ShellCompDirectiveNoFileComp
}
