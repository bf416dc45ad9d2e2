package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

const reconnectHelp = `Replaces the connections of tunnels of the running Caddy. New ones take over, and
what goes on through the old ones continues.

  caddy ssh-tunnel reconnect prod

A tunnel that is down tries at once, and within 5 seconds if the bastion has refused
it. Use it after a change on the bastion, such as a key that was added there: Caddy
cannot see that. The command does not wait for the outcome, which caddy ssh-tunnel
status shows.`

func newReconnectCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use:   "reconnect [flags] <tunnel>...",
		Short: "Replace the connections of tunnels of the running Caddy",
		Long:  reconnectHelp,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			admin, err := flags.admin()
			if err != nil {
				return err
			}
			for _, name := range args {
				s, err := admin.Reconnect(name)
				if err != nil {
					return err
				}
				doing := "connecting"
				if s.State == report.StateUp {
					doing = "replacing its connection"
				}
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", s.Tunnel, doing)
			}
			return nil
		},
	}
	flags.add(cmd)
	return cmd
}
