package sshtunnel

// command_admin.go asks a running Caddy's admin API.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
)

// answerTimeout is how long Caddy may take to answer; completeTimeout is the same
// while a shell waits to complete a name.
const (
	answerTimeout   = 10 * time.Second
	completeTimeout = 2 * time.Second
)

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
func (f *adminFlags) admin() (adminAddress, error) {
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
	return adminAddress(address), err
}

// adminAddress is where a running Caddy's admin API is.
type adminAddress string

// ask makes a request and returns what Caddy answers. Errors tell what to do.
func (a adminAddress) ask(ctx context.Context, method, path string) ([]byte, error) {
	type answer struct {
		body []byte
		err  error
	}
	answered := make(chan answer, 1)
	// It returns when Caddy has answered, or at the end of the process: the
	// request takes no context.
	go func() {
		response, err := caddycmd.AdminAPIRequest(string(a), method, path, nil, nil)
		if err != nil {
			answered <- answer{err: a.explain(err)}
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			err = a.explain(err)
		}
		answered <- answer{body, err}
	}()
	select {
	case got := <-answered:
		return got.body, got.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("what listens at %q does not answer; is that Caddy's admin API?", string(a))
		}
		return nil, ctx.Err()
	}
}

// refusal is an error that Caddy answers with, as AdminAPIRequest tells it.
var refusal = regexp.MustCompile(`(?s)HTTP (\d+): (.*)`)

// explain says what it can mean that a request has failed.
func (a adminAddress) explain(err error) error {
	m := refusal.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("asking Caddy at %q: %w; is it running, and not with admin off? --address or --config says where its admin API is", string(a), rootCause(err))
	}
	var said struct {
		Error string `json:"error"`
	}
	switch _ = json.Unmarshal([]byte(m[2]), &said); {
	case said.Error != "":
		return errors.New(said.Error)
	case m[1] == "404":
		return fmt.Errorf("what listens at %q knows no tunnels; is it a Caddy with this plugin?", string(a))
	default:
		return fmt.Errorf("asking Caddy at %q: HTTP %s: %s", string(a), m[1], strings.TrimSpace(m[2]))
	}
}

// rootCause shortens an error of AdminAPIRequest, which does not wrap what it
// tells: "performing request: Get "http://…": dial tcp …: connection refused".
func rootCause(err error) error {
	if _, cause, ok := strings.Cut(err.Error(), `": `); ok {
		return errors.New(cause)
	}
	return err
}

// tunnels returns the status of the named tunnels, or of all: as it was told, and
// as it reads.
func (a adminAddress) tunnels(ctx context.Context, names []string) (told []json.RawMessage, read []adminapi.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	body, err := a.ask(ctx, http.MethodGet, adminapi.Path+"tunnels")
	if err != nil {
		return nil, nil, err
	}
	if err = json.Unmarshal(body, &told); err == nil {
		err = json.Unmarshal(body, &read)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("what listens at %q answers in other words than this plugin: %w", string(a), err)
	}
	if len(names) == 0 {
		return told, read, nil
	}
	known := namesOf(read)
	var saidOfThese []json.RawMessage
	var these []adminapi.Status
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, nil, config.UnknownTunnel(name, known)
		}
		saidOfThese, these = append(saidOfThese, told[i]), append(these, read[i])
	}
	return saidOfThese, these, nil
}

func namesOf(tunnels []adminapi.Status) []string {
	names := make([]string, len(tunnels))
	for i := range tunnels {
		names[i] = tunnels[i].Tunnel
	}
	return names
}

// complete has a shell complete the names of tunnels: of the Caddy that runs, or
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
	_, tunnels, err := admin.tunnels(ctx, nil)
	if err != nil {
		return nil
	}
	return namesOf(tunnels)
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
