package command

// init_destination.go finds out what ssh_config(5) files say about the server that init is
// for, and goes through the servers on the way to it.

import (
	"context"
	"slices"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// destination is a server, as it is written and as the files have it.
type destination struct {
	written hostport.Server
	// inFiles says that the files matter: with them, ssh goes elsewhere, another way or
	// as somebody else than without.
	inFiles bool
	// knownHosts are the files to look its host key up in.
	knownHosts []string
	// jumps are the servers on the way, and handles the connections to them.
	jumps   []hop
	handles []*tunnel.Handle
}

// findDestination looks a server up as ssh does. It returns where and as whom to connect,
// without what is known about the host key: the Caddyfile has that.
func findDestination(written hostport.Server, out *output) (d destination, cfg tunnel.Config, err error) {
	flags := &forwardFlags{password: true}
	hops, err := flags.resolve(written, out)
	if err != nil {
		return d, cfg, err
	}
	flags.file = "none"
	alone, err := flags.resolve(written, out)
	if err != nil {
		return d, cfg, err
	}
	last := len(hops) - 1
	d.written, d.jumps, d.knownHosts = written, hops[:last], hops[last].cfg.KnownHosts
	cfg = withoutHostKeys(hops[last].cfg)
	without := withoutHostKeys(alone[0].cfg)
	d.inFiles = len(d.jumps) > 0 || cfg.Key("") != without.Key("")
	return d, cfg, nil
}

// withoutHostKeys returns a configuration that knows no host key.
func withoutHostKeys(cfg tunnel.Config) tunnel.Config {
	cfg.KnownHosts, cfg.KnownHostsCommand = nil, nil
	cfg.UpdateHostKeys, cfg.TrustLoopback = false, false
	return cfg
}

// connectJumps connects to the servers on the way, as forward does.
func (r *initRun) connectJumps(ctx context.Context) error {
	for _, jump := range r.jumps {
		h, err := r.login.connect(ctx, jump, r.via())
		if err != nil {
			return err
		}
		r.handles = append(r.handles, h)
	}
	return nil
}

// via is the connection to the last server on the way, or nil if there is none.
func (r *initRun) via() *tunnel.Handle {
	if len(r.handles) == 0 {
		return nil
	}
	return r.handles[len(r.handles)-1]
}

func (r *initRun) closeJumps() {
	for _, h := range slices.Backward(r.handles) {
		h.Close()
	}
}
