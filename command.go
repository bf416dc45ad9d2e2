package sshtunnel

// command.go adds `caddy ssh-tunnel` to Caddy's command line.

import (
	"fmt"

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
