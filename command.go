package sshtunnel

// command.go adds `caddy ssh-tunnel` to Caddy's command line.

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ssh-tunnel",
		Usage: "<command>",
		Short: "Checks, shows and makes SSH tunnels",
		Long: `
Works with SSH tunnels: those of a running Caddy, those of a configuration, or with
neither.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(newForwardCommand(), newCheckCommand(), newKeyscanCommand(), newKnownHostsCommand())
			cmd.AddCommand(newStatusCommand(), newReconnectCommand())
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return fmt.Errorf("unknown command %q; caddy ssh-tunnel --help lists them", args[0])
				}
				return cmd.Help()
			}
		},
	})
}

// untilInterrupted returns a context that Ctrl-C ends, or another signal to end.
// A second one ends the process.
func untilInterrupted() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
