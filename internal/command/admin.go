package command

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
)

// completeTimeout is how long Caddy may take to answer while a shell waits to complete
// a name.
const completeTimeout = 2 * time.Second

// adminFlags say where a running Caddy's admin API is.
type adminFlags struct {
	configFlags
	address string
}

func (f *adminFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.configFlags.add(cmd, flags, "`file` of Caddy's configuration, for the address of its admin API")
	flags.StringVar(&f.address, "address", "", "`address` of Caddy's admin API (default: the configuration's, or else Caddy's own default)")
	cmd.ValidArgsFunction = f.complete
}

// admin returns where to ask.
func (f *adminFlags) admin() (adminapi.Client, error) {
	var config []byte
	if f.file != "" && f.address == "" {
		var err error
		if config, _, _, err = caddycmd.LoadConfig(f.file, f.adapter); err != nil {
			return "", err
		}
		var said struct {
			Admin struct {
				Disabled bool `json:"disabled"`
			} `json:"admin"`
		}
		if err := json.Unmarshal(config, &said); err != nil {
			return "", fmt.Errorf("reading the configuration: %w", err)
		}
		if said.Admin.Disabled {
			return "", fmt.Errorf("%q has admin off, so that a Caddy that runs it cannot be asked", f.file)
		}
	}
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, config, f.file, f.adapter)
	return adminapi.Client(address), err
}

// complete completes the names of tunnels: of the Caddy that runs, or else of the
// configuration.
func (f *adminFlags) complete(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	admin, err := f.admin()
	if err != nil {
		return f.configFlags.complete(cmd, args, prefix)
	}
	_, tunnels, err := admin.Tunnels(ctx, nil)
	if err != nil {
		return f.configFlags.complete(cmd, args, prefix)
	}
	return without(adminapi.Names(tunnels), args), cobra.ShellCompDirectiveNoFileComp
}

// without returns the names that are not typed yet.
func without(names, typed []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(typed, name) })
}
