package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

const statusHelp = `Shows the tunnels of the running Caddy: whether each is up, its host and since when,
the round-trip time of its last keepalive, its SSH connections and open channels, and
the bytes that Caddy received from the bastion and sent there. The lines below a
tunnel say what is wrong with it.

It asks Caddy's admin API: at --address, or where the configuration that --config
names has it, or else at CADDY_ADMIN or localhost:2019.

The exit status is 1 if a tunnel is not up that should be. A tunnel that is lazy, or
whose bastion closes unused connections, need not be up. --json prints the JSON of
the admin API, which has more.`

// defaultWatch is how often --watch asks.
const defaultWatch = 2 * time.Second

// statusFlags is what the command line says.
type statusFlags struct {
	adminFlags
	watch time.Duration
	json  bool
}

func newStatusCommand() *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status [flags] [<tunnel>...]",
		Short: "Show the tunnels of the running Caddy",
		Long:  statusHelp,
		Example: `  caddy ssh-tunnel status
  caddy ssh-tunnel status --watch=5s prod
  caddy ssh-tunnel status --json | jq '.[] | {tunnel, state, rtt}'`,
		RunE: interruptible(flags.run),
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.DurationVarP(&flags.watch, "watch", "w", 0, "show it again after each `interval`, as in --watch=5s; Ctrl-C ends it")
	f.Lookup("watch").NoOptDefVal = defaultWatch.String()
	f.BoolVar(&flags.json, "json", false, "print the API's JSON, an array in one line")
	return cmd
}

// run shows the status once, or until ctx is done.
func (flags *statusFlags) run(ctx context.Context, out io.Writer, names []string) error {
	if flags.watch < 0 {
		return fmt.Errorf("--watch: %s is negative", flags.watch)
	}
	admin, err := flags.admin()
	if err != nil {
		return err
	}
	text, tunnels, err := flags.screen(ctx, admin, names)
	switch {
	case errors.Is(err, context.Canceled):
		return nil
	case err != nil:
		return err
	case flags.watch == 0:
		_, _ = io.WriteString(out, text)
		return unready(tunnels)
	}

	clear := clearing(out)
	ticker := time.NewTicker(flags.watch)
	defer ticker.Stop()
	for {
		_, _ = io.WriteString(out, clear+text)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		text, _, err = flags.screen(ctx, admin, names)
		if err != nil {
			text = printable.Line(err.Error()) + "\n" // Caddy may be back the next time
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// screen asks, and returns what there is to show.
func (flags *statusFlags) screen(ctx context.Context, admin adminapi.Client, names []string) (string, []adminapi.Status, error) {
	answered, tunnels, err := admin.Tunnels(ctx, names)
	if err != nil {
		return "", nil, err
	}
	if !flags.json {
		return statusTable(tunnels, time.Now()), tunnels, nil
	}
	text, err := json.Marshal(answered)
	return string(text) + "\n", tunnels, err
}

// clearing returns what clears the screen, if out is one.
func clearing(out io.Writer) string {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "\x1b[H\x1b[2J"
	}
	return ""
}

// unready is the error for tunnels that are not up and should be.
func unready(tunnels []adminapi.Status) error {
	verdict := adminapi.ReadinessOf(tunnels)
	if verdict.Ready {
		return nil
	}
	return fmt.Errorf("not up: %s", strings.Join(verdict.Names(), ", "))
}
