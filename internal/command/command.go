// Package command adds `caddy ssh-tunnel` to Caddy's command line: flags, what is printed,
// and logins of a person at a terminal. It starts no app: package configfile reads a
// configuration, or the admin API of a running Caddy answers. Package doctor finds out what
// is wrong with a tunnel. Only the root imports it, so that it registers itself.
package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ssh-tunnel",
		Usage: "<command>",
		Short: "Commands for working with SSH tunnels",
		Long: `
Forwards ports through an SSH server without a configuration, finds out what is
wrong with a tunnel, and shows the tunnels of a running Caddy.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(All()...)
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return fmt.Errorf("unknown command %q; caddy ssh-tunnel --help lists them", args[0])
				}
				return cmd.Help()
			}
			refuseMisplaced(cmd)
		},
	})
}

// All returns the commands below `caddy ssh-tunnel`.
func All() []*cobra.Command {
	return []*cobra.Command{
		newInitCommand(), newForwardCommand(), newCheckCommand(), newKeyscanCommand(), newKnownHostsCommand(), newPublicKeyCommand(), newStatusCommand(), newReconnectCommand(),
	}
}

// refuseMisplaced makes a command, and those below it, refuse what may be a secret in
// the place of a name or a path, before anything prints it.
func refuseMisplaced(cmd *cobra.Command) {
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		var err error
		cmd.Flags().Visit(func(f *pflag.Flag) {
			if f.Name == "option" {
				return // each line is judged by its keyword
			}
			values := []string{f.Value.String()}
			if list, ok := f.Value.(pflag.SliceValue); ok {
				values = list.GetSlice()
			}
			for _, value := range values {
				if bad := redact.Path(value); bad != nil {
					err = cmp.Or(err, misplacedFlag(f, bad))
				}
			}
		})
		for _, arg := range args {
			err = cmp.Or(err, redact.Check(arg))
		}
		if err != nil || check == nil {
			return err
		}
		return check(cmd, args)
	}
	// What pflag says of a value that it cannot parse has that value in it.
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			f := invalid.GetFlag()
			if bad := redact.Path(invalid.GetValue()); bad != nil {
				return misplacedFlag(f, bad)
			}
			if f.Value.Type() == "bool" {
				return fmt.Errorf("%s takes no value; write %s alone, or leave it out", flagName(f), flagName(f))
			}
		}
		if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
			return fmt.Errorf("%s has no value; write one behind it", flagName(missing.GetFlag()))
		}
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && redact.Check(unknown.GetSpecifiedName()) == nil {
			hyphens := "--"
			if unknown.GetSpecifiedShortnames() != "" {
				hyphens = "-"
			}
			return fmt.Errorf("unknown flag: %s%s; %s --help lists them", hyphens, unknown.GetSpecifiedName(), cmd.CommandPath())
		}
		return redact.Error(err)
	})
	for _, below := range cmd.Commands() {
		refuseMisplaced(below)
	}
}

// flagName returns a flag as most people type it.
func flagName(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return "-" + f.Shorthand
	}
	return "--" + f.Name
}

// misplacedFlag says what a flag's value is without showing it.
func misplacedFlag(f *pflag.Flag, is *redact.Text) error {
	return fmt.Errorf("%s: the value is %s, which does not belong here; check its quotes and what its variable stands for", flagName(f), is)
}

// interruptible returns what runs a command until Ctrl-C, or another signal to end,
// ends ctx. A second one ends the process.
func interruptible(run func(ctx context.Context, out io.Writer, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		context.AfterFunc(ctx, stop)
		defer subprocess.EndAll() // a command of an ssh_config file is not left behind
		return run(ctx, cmd.OutOrStdout(), args)
	}
}

// errNotWell makes the exit status say what has been printed already.
var errNotWell = errors.New("not all is well; see above")

// printJSON prints one JSON document.
func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
