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
		Short: "Works with SSH tunnels, without a running Caddy",
		Long: `
Works with SSH tunnels, without a running Caddy.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(newForwardCommand(), newCheckCommand(), newKeyscanCommand(), newKnownHostsCommand())
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return fmt.Errorf("unknown command %q; caddy ssh-tunnel --help lists them", args[0])
				}
				return cmd.Help()
			}
		},
	})
}
