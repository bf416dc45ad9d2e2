package sshtunnel

// command_hops.go reads the SSH servers that a command is to go through, and
// connects to them.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// hop is an SSH server on the way.
type hop struct {
	name string // what to call it
	cfg  tunnel.Config
}

// hops returns the jumps, and the destination behind them.
func (flags *forwardFlags) hops(destination string) ([]hop, error) {
	var hops []hop
	if flags.jumps != "" {
		for jump := range strings.SplitSeq(flags.jumps, ",") {
			h, err := flags.hop("jump", jump, "", "")
			if err != nil {
				return nil, err
			}
			hops = append(hops, h)
		}
	}
	h, err := flags.hop("destination", destination, flags.user, flags.port)
	if err != nil {
		if _, specErr := parseForward(forwardL, destination); specErr == nil {
			return nil, fmt.Errorf("destination %q is a forward; write the destination last, as in 8008:web:80 user@sshserver", destination)
		}
		return nil, err
	}
	return append(hops, h), nil
}

// hop reads an SSH server. User and port stand for those that it is written
// without.
func (flags *forwardFlags) hop(what, s, user, port string) (hop, error) {
	d, err := parseDestination(s)
	if err != nil {
		return hop{}, fmt.Errorf("%s %w", what, err)
	}
	switch {
	case d.user == "":
		d.user = user
	case user != "" && user != d.user:
		return hop{}, fmt.Errorf("%s %q has another user than -l %q; keep one", what, s, user)
	}
	if d.user == "" {
		if d.user = loginName(); d.user == "" {
			return hop{}, fmt.Errorf("no user to log in to %q as; write user@ before it", s)
		}
	}
	if port != "" {
		if port, err = parsePort(port); err != nil {
			return hop{}, fmt.Errorf("-p: %w", err)
		}
	}
	switch {
	case d.port == "" && port == "":
		d.port = "22"
	case d.port == "":
		d.port = port
	case port != "" && port != d.port:
		return hop{}, fmt.Errorf("%s %q has another port than -p %s; keep one", what, s, port)
	}

	cfg := tunnel.Config{Name: d.host, Address: net.JoinHostPort(d.host, d.port), User: d.user}
	if err := flags.identify(&cfg); err != nil {
		return hop{}, err
	}
	return hop{name: d.host, cfg: cfg}, nil
}

// identify says who we are to a server, and how to know it.
func (flags *forwardFlags) identify(cfg *tunnel.Config) error {
	for _, path := range flags.identityFiles {
		// ssh goes on without it, and then fails for a reason that is harder to
		// see.
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("identity file %q: %w", path, errors.Unwrap(err))
		}
		cfg.IdentityFiles = append(cfg.IdentityFiles, tunnel.IdentityFile{Path: path})
	}
	switch {
	case flags.noKey && len(flags.identityFiles) > 0:
		return errors.New("--no-key contradicts -i; keep one of them")
	case flags.noKey && !flags.password:
		return errors.New("--no-key leaves nothing to log in with; add --password")
	case flags.noKey:
		cfg.NoIdentityFiles, cfg.IdentityAgent = true, "none"
	case len(flags.identityFiles) > 0:
		// Unlike in a configuration, -i does not keep the agent's keys back.
		cfg.IdentityAgent = "SSH_AUTH_SOCK"
	}
	if flags.knownHosts != "" {
		cfg.KnownHosts = []string{flags.knownHosts}
	}
	cfg.ApplyDefaults(homeDir())
	return nil
}

// destination is an SSH server as it was written. What was not is "".
type destination struct{ user, host, port string }

// parseDestination reads [user@]host[:port], or that as an ssh:// URL.
func parseDestination(s string) (destination, error) {
	address := s
	if rest, ok := strings.CutPrefix(s, "ssh://"); ok {
		address = strings.TrimSuffix(rest, "/")
		if i := strings.LastIndexByte(address, '@'); i >= 0 {
			user, err := url.PathUnescape(address[:i])
			if err != nil {
				return destination{}, fmt.Errorf("%q: %w", s, err)
			}
			if strings.Contains(address[:i], ":") {
				return destination{}, errors.New("with a password in it is not taken; use --password, which asks for it")
			}
			address = user + address[i:]
		}
	}
	user, host, port, err := splitAddress(address)
	if err != nil {
		return destination{}, err
	}
	if !hasPort(address) {
		port = ""
	}
	return destination{user, host, port}, nil
}

// hasPort tells whether an address that splitAddress took has a port written.
func hasPort(address string) bool {
	_, _, err := net.SplitHostPort(address[strings.LastIndexByte(address, '@')+1:])
	return err == nil
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
