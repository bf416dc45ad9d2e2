package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
)

const knownHostsHelp = `Lists the host keys that Caddy learned with strict_host_key_checking accept-new, or
forgets those of a host, so that Caddy learns the next one that the bastion shows.

They are in Caddy's storage: that of the configuration that --config names, or else
of a Caddyfile in this directory, or else the default one of the user that runs the
command. Run it as the user that Caddy runs as. A running Caddy notices within
seconds. Its open connections stay.`

func newKnownHostsCommand() *cobra.Command {
	var flags configFlags
	var via string
	// use runs a command with the storage.
	use := func(run func(ctx context.Context, keys keystorage.Storage, out io.Writer, args []string) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			config, err := flags.read()
			if err != nil {
				return err
			}
			return run(cmd.Context(), config.HostKeys(), cmd.OutOrStdout(), args)
		}
	}
	list := &cobra.Command{
		Use:   "list",
		Short: "List the learned host keys",
		Args:  cobra.NoArgs,
		RunE:  use(listKeys),
	}
	forget := &cobra.Command{
		Use:     "forget [--via <host>,...] <host>",
		Short:   "Forget the host keys that Caddy learned for a host",
		Example: "  caddy ssh-tunnel known-hosts forget bastion.example.com:2222 --config /etc/caddy/Caddyfile",
		Args:    cobra.ExactArgs(1),
		RunE: use(func(ctx context.Context, keys keystorage.Storage, out io.Writer, args []string) error {
			return forgetKeys(ctx, keys, out, args[0], via)
		}),
	}
	forget.Flags().StringVar(&via, "via", "", "the `hosts` that it is reached through, with commas between them, where the host alone says too little")

	cmd := &cobra.Command{
		Use:   "known-hosts [--config <file> [--adapter <name>]] [list | forget <host>]",
		Short: "List or forget the host keys that Caddy learned at first use",
		Long:  knownHostsHelp,
		Args:  cobra.NoArgs,
		RunE:  list.RunE,
	}
	flags.add(cmd, cmd.PersistentFlags(), "the `file` of the configuration that names the storage")
	cmd.AddCommand(list, forget)
	return cmd
}

// listKeys prints a table of the keys.
func listKeys(ctx context.Context, keys keystorage.Storage, out io.Writer, _ []string) error {
	all, err := keys.All(ctx)
	if len(all) > 0 {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "HOST\tVIA\tKEY\tLEARNED")
		for _, r := range all {
			via := "-"
			if len(r.Via) > 0 {
				via = strings.Join(r.Via, ",")
			}
			for _, k := range r.Keys() {
				_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.Host, via, k.Describe(), k.Learned.UTC().Format(time.RFC3339))
			}
		}
		err = errors.Join(err, table.Flush())
	} else if err == nil {
		_, err = fmt.Fprintln(out, "no host key was learned")
	}
	return err
}

// forgetKeys forgets the keys of a host that is reached as via says. If there are
// none, and via says nothing, it forgets those of the only way to the host.
func forgetKeys(ctx context.Context, keys keystorage.Storage, out io.Writer, host, via string) error {
	route := hostkey.Route{Name: knownName(host)}
	if via != "" {
		for hop := range strings.SplitSeq(via, ",") {
			route.Via = append(route.Via, knownName(hop))
		}
	}
	// Not by the list alone, for what cannot be read has to be forgotten, too.
	if !keys.Exists(ctx, keystorage.StorageKey(route)) {
		all, err := keys.All(ctx)
		all = slices.DeleteFunc(all, func(r keystorage.Route) bool { return r.Host != route.Name || via != "" })
		switch {
		case len(all) == 0 && err != nil:
			return err
		case len(all) == 0:
			return fmt.Errorf("no host key was learned for %q; caddy ssh-tunnel known-hosts lists them", route)
		case len(all) > 1:
			var lines []string
			for _, r := range all {
				lines = append(lines, "  "+keystorage.ForgetLine(r.Route()))
			}
			return fmt.Errorf("%q is reached in several ways; run one of\n%s", route.Name, strings.Join(lines, "\n"))
		}
		route = all[0].Route()
	}
	what := []string{"unreadable"}
	if stored, err := keys.Read(ctx, keystorage.StorageKey(route)); err == nil {
		what = nil
		for _, k := range stored.Keys() {
			what = append(what, k.Describe())
		}
	}
	if err := keys.Forget(ctx, route); err != nil {
		return fmt.Errorf("forgetting the host key of %q: %w", route, err)
	}
	for _, key := range what {
		_, _ = fmt.Fprintf(out, "forgot the host key of %s: %s\n", route, key)
	}
	return nil
}

// knownName returns what a host is listed as, which may be written like that, or
// like an address of a tunnel.
func knownName(host string) string {
	if server, err := hostport.ParseServer(host); err == nil {
		return hostkey.KnownName(server.Address(), "")
	}
	return strings.ToLower(host)
}
