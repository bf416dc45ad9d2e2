package command

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/configfile"
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

// read reads the configuration, which is empty if there is none.
func (f *configFlags) read() (*configfile.Config, error) { return configfile.Read(f.file, f.adapter) }

// load is read for a configuration that has tunnels.
func (f *configFlags) load() (*configfile.Config, error) { return configfile.Load(f.file, f.adapter) }

// complete completes the names of tunnels.
func (f *configFlags) complete(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := f.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return without(c.Tunnels, args), cobra.ShellCompDirectiveNoFileComp
}
