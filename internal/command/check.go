package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/doctor"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/need"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/terminal"
)

const checkHelp = `Logs in as Caddy would, by the same code, and shows how far it gets. It prints the
cause of what fails, and the fix.

  caddy ssh-tunnel check prod --config /etc/caddy/Caddyfile

checks the tunnel prod and those that it goes through. Without a name it checks all
tunnels. Of several hosts it checks each.

It reads the configuration that caddy run reads, and starts nothing of it. It neither
needs nor touches a running Caddy. Run it as the user that Caddy runs as, with the
same environment. Otherwise the home directory, the agent and the placeholders
differ.

The steps are: reach (TCP, a proxy, a command, or a channel of the hop before),
banner, key exchange, host key, authentication, the certificate if there is one,
whether forwarding is permitted, and each target.

The targets are those that the configuration has: upstreams without placeholders,
targets of listener wrappers, caddy-l4 routes and local_forward, and tunnels that
jump through this one. --target names others. The bastion connects to each, and
nothing is sent. permit_open applies. If no target is known, it dials port 1 of the
bastion itself, to see whether the bastion forbids forwarding. A tunnel that only
listens on the bastion does not need this permission.

The exit status is 0 if all is well, and 1 otherwise. With strict_host_key_checking
accept-new, it accepts an unknown host key and does not remember it.`

// checkFlags is what the command line says.
type checkFlags struct {
	config  configFlags
	targets []string
	json    bool
}

func newCheckCommand() *cobra.Command {
	var flags checkFlags
	cmd := &cobra.Command{
		Use:   "check [flags] [<tunnel>...]",
		Short: "Log in as Caddy would, and show what is wrong and how to fix it",
		Long:  checkHelp,
		Example: `  caddy ssh-tunnel check
  caddy ssh-tunnel check prod --config /etc/caddy/Caddyfile
  caddy ssh-tunnel check prod --target db.internal:5432
  caddy ssh-tunnel check --json`,
		ValidArgsFunction: flags.config.complete,
		RunE:              interruptible(flags.run),
	}
	f := cmd.Flags()
	flags.config.add(cmd, f, "the `file` of the configuration (default: Caddyfile in this directory)")
	f.StringArrayVarP(&flags.targets, "target", "t", nil, "`host:port` or unix//path to dial from the bastion, instead of those of the configuration. Repeats")
	f.BoolVar(&flags.json, "json", false, "print one JSON document")
	_ = cmd.RegisterFlagCompletionFunc("target", cobra.NoFileCompletions)
	return cmd
}

// checkReport is about all tunnels that were checked.
type checkReport struct {
	OK      bool                   `json:"ok"`
	Config  string                 `json:"config,omitempty"`
	Tunnels []*doctor.TunnelReport `json:"tunnels"`
}

// run checks the tunnels of the names, or all.
func (flags *checkFlags) run(ctx context.Context, out io.Writer, typed []string) error {
	targets, err := parseTargets(flags.targets)
	if err != nil {
		return err
	}
	config, err := flags.config.load()
	if err != nil {
		return err
	}
	names, err := config.Select(typed)
	if err != nil {
		return err
	}
	d := doctor.New(ctx, config, targets)
	defer d.Close()
	report := checkReport{OK: true, Config: config.Path}
	for _, name := range names {
		t := d.Examine(name)
		if ctx.Err() != nil {
			return terminal.ErrInterrupted
		}
		report.OK = report.OK && t.OK
		report.Tunnels = append(report.Tunnels, t)
		if !flags.json {
			t.Print(out)
		}
	}
	if flags.json {
		if err := printJSON(out, report); err != nil {
			return err
		}
	}
	if len(typed) == 0 && report.OK {
		// Each by itself is well; together they may not be.
		if err := config.Check(); err != nil {
			return fmt.Errorf("each tunnel by itself is well, but Caddy does not load them together: %w", err)
		}
	}
	if !report.OK {
		return errNotWell
	}
	return nil
}

// parseTargets reads targets that were typed.
func parseTargets(typed []string) ([]need.Target, error) {
	var targets []need.Target
	for _, s := range typed {
		target, err := hostport.ParseTarget(s, hostport.Bastion)
		if err != nil {
			return nil, fmt.Errorf("--target: %w", err)
		}
		targets = append(targets, need.Target{Target: target, By: "--target"})
	}
	return targets, nil
}
