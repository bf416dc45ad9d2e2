package command

// hops.go finds out which SSH servers a command is to go through, and
// connects to them: from the command line and ssh_config(5) files, as ssh does.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// hop is an SSH server on the way.
type hop struct {
	*sshconfig.Host // what the files say

	cfg      tunnel.Config
	settings tunnel.Settings
	// saveTo is the known_hosts file for accepted keys, or "".
	saveTo string
}

// addTo is the file that an error advises to add a host key to.
func (h *hop) addTo() string {
	if h.saveTo == "" || h.saveTo == os.DevNull {
		return "a file, and name that with --known-hosts or UserKnownHostsFile"
	}
	return h.saveTo
}

// hops returns the jumps, and the destination behind them.
func (flags *forwardFlags) hops(destination string, out *output) ([]hop, error) {
	d, err := hostport.ParseDestination(destination)
	if err != nil {
		if _, specErr := hostport.ParseForward(hostport.Local, destination); specErr == nil {
			return nil, fmt.Errorf("destination %q is a forward; write the destination last, as in 8008:web:80 user@sshserver", destination)
		}
		return nil, fmt.Errorf("destination %w", err)
	}
	switch {
	case d.User != "" && flags.user != "" && d.User != flags.user:
		return nil, fmt.Errorf("destination %q has another user than -l %q; keep one", destination, flags.user)
	case d.User == "":
		d.User = flags.user
	}
	port, err := flags.portFlag()
	switch {
	case err != nil:
		return nil, err
	case d.Port != "" && port != "" && d.Port != port:
		return nil, fmt.Errorf("destination %q has another port than -p %s; keep one", destination, port)
	case d.Port == "":
		d.Port = port
	}
	return flags.resolve(d, out)
}

// portFlag returns -p, or "".
func (flags *forwardFlags) portFlag() (string, error) {
	if flags.port == "" {
		return "", nil
	}
	port, err := hostport.ParsePort(flags.port)
	if err != nil {
		return "", fmt.Errorf("-p: %w", err)
	}
	return port, nil
}

// resolve looks up what the files say about a server, and about those on the way.
func (flags *forwardFlags) resolve(d hostport.Server, out *output) ([]hop, error) {
	if err := flags.check(); err != nil {
		return nil, err
	}
	reader := config.NewSSHConfigReader(out.logger)
	reader.Warn = func(warning string) { out.line("ssh_config: %s", warning) }
	reader.Options = flags.options
	written := sshconfig.Written{User: d.User, ProxyJump: flags.jumps}
	written.Port, _ = strconv.Atoi(d.Port) // it was checked
	file := flags.file
	if file == "none" {
		file = os.DevNull
	}
	h, err := reader.Resolve(d.Host, file, written)
	if err != nil {
		return nil, err
	}
	var hops []hop
	for _, host := range append(h.Jumps, h) {
		hop, err := flags.hop(host, out)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", host.Alias, err)
		}
		hops = append(hops, hop)
	}
	return hops, nil
}

// check refuses flags that contradict one another, or name what does not exist.
func (flags *forwardFlags) check() error {
	for i, path := range flags.identityFiles {
		if rest, ok := strings.CutPrefix(path, "~/"); ok && config.HomeDir() != "" {
			path = filepath.Join(config.HomeDir(), rest) // a shell leaves it in quotes
			flags.identityFiles[i] = path
		}
		// ssh goes on without it, and then fails for a reason that is harder to
		// see. Of a key in the agent there may be the public half alone.
		if _, err := os.Stat(path); err != nil {
			if _, pubErr := os.Stat(path + ".pub"); pubErr != nil {
				return fmt.Errorf("identity file %q: %w", path, errors.Unwrap(err))
			}
		}
	}
	if flags.jumps != "" && !strings.EqualFold(flags.jumps, "none") {
		for jump := range strings.SplitSeq(flags.jumps, ",") {
			if _, err := hostport.ParseDestination(jump); err != nil {
				return fmt.Errorf("jump %w", err)
			}
		}
	}
	switch {
	case flags.quiet && flags.verbose:
		return errors.New("-q contradicts -v; keep one of them")
	case flags.noKey && len(flags.identityFiles) > 0:
		return errors.New("--no-key contradicts -i; keep one of them")
	case flags.noKey && !flags.password:
		return errors.New("--no-key leaves nothing to log in with; add --password")
	}
	return nil
}

// hop makes a tunnel's configuration of a server, with what the command line says
// for all of them.
func (flags *forwardFlags) hop(h *sshconfig.Host, out *output) (hop, error) {
	h.IdentityFiles = slices.Concat(flags.identityFiles, h.IdentityFiles)
	if flags.noKey {
		h.IdentityFiles, h.CertificateFiles, h.NoIdentityFiles, h.IdentityAgent = nil, nil, true, "none"
	}
	if flags.knownHosts != "" {
		h.UserKnownHostsFiles, h.GlobalKnownHostsFiles = []string{flags.knownHosts}, []string{}
	}
	t, err := config.ResolveHost(h, out.logger)
	switch {
	case errors.Is(err, subprocess.ErrForbidden):
		return hop{}, fmt.Errorf("%s: ProxyCommand: running commands is not allowed, and none was run; to allow it, run export %s=1 and then this again", h.Where("ProxyCommand"), subprocess.Allow)
	case err != nil:
		return hop{}, err
	}
	for i := range flags.identityFiles {
		t.Config.IdentityFiles[i].Optional = false // one that is typed has to work
	}
	// Whom to trust is asked here; a tunnel remembers it in Caddy's storage.
	t.Config.AcceptNewHostKey = false
	made := hop{Host: h, cfg: t.Config, settings: out.settings(t.Settings)}
	if home := config.HomeDir(); home != "" {
		made.saveTo = filepath.Join(home, ".ssh", "known_hosts")
	}
	if h.UserKnownHostsFiles != nil {
		made.saveTo = cmp.Or(append(h.UserKnownHostsFiles, "")...)
	}
	return made, nil
}

// connect connects to one server after the other. Each is asked about before
// the next, as ssh -J does.
func (r *forwardRun) connect(ctx context.Context, login *login) error {
	var via *tunnel.Handle
	for _, hop := range r.hops {
		h, err := login.connect(ctx, hop, via)
		if err != nil {
			return err
		}
		r.handles = append(r.handles, h)
		via = h
	}
	return nil
}
