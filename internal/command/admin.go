package command

// admin.go asks a running Caddy's admin API.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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
type adminFlags struct{ config, adapter, address string }

func (f *adminFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.config, "config", "c", "", "`file` of Caddy's configuration, for the address of its admin API")
	flags.StringVarP(&f.adapter, "adapter", "a", "", "`name` of the configuration's adapter")
	flags.StringVar(&f.address, "address", "", "`address` of Caddy's admin API (default: the configuration's, or else Caddy's own default)")
	cmd.ValidArgsFunction = f.complete
}

// admin returns where to ask.
func (f *adminFlags) admin() (adminapi.Client, error) {
	var config []byte
	if f.config != "" && f.address == "" {
		var err error
		if config, _, _, err = caddycmd.LoadConfig(f.config, f.adapter); err != nil {
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
			return "", fmt.Errorf("%q has admin off, so that a Caddy that runs it cannot be asked", f.config)
		}
	}
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, config, f.config, f.adapter)
	return adminapi.Client(address), err
}

// complete returns the names of tunnels for a shell to complete: of the Caddy that runs, or
// else of the configuration.
func (f *adminFlags) complete(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	names := f.runningNames(cmd.Context())
	if names == nil {
		names = f.configuredNames()
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
	return names, cobra.ShellCompDirectiveNoFileComp
}

// runningNames returns nil if there is no Caddy to ask.
func (f *adminFlags) runningNames(ctx context.Context) []string {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	admin, err := f.admin()
	if err != nil {
		return nil
	}
	_, tunnels, err := admin.Tunnels(ctx, nil)
	if err != nil {
		return nil
	}
	return adminapi.Names(tunnels)
}

func (f *adminFlags) configuredNames() []string {
	config, _, _, err := caddycmd.LoadConfig(f.config, f.adapter)
	if err != nil {
		return nil
	}
	var said struct {
		Apps struct {
			SSHTunnel struct {
				Tunnels map[string]json.RawMessage `json:"tunnels"`
			} `json:"ssh_tunnel"`
		} `json:"apps"`
	}
	if json.Unmarshal(config, &said) != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(said.Apps.SSHTunnel.Tunnels))
}
