package sshconfig

// jump.go finds the hosts on the way.

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// maxJumps is more hosts on the way than anybody goes through, and ends a way
// that tokens make longer and longer.
const maxJumps = 32

// jump is one host of a ProxyJump, as it is written.
type jump struct {
	user string // "" if it is not written
	host string
	port int // 0 if it is not written
}

// String returns the jump as ProxyJump takes it.
func (j jump) String() string {
	s := j.host
	if strings.Contains(s, ":") {
		s = "[" + s + "]"
	}
	if j.user != "" {
		s = j.user + "@" + s
	}
	if j.port != 0 {
		s += fmt.Sprintf(":%d", j.port)
	}
	return s
}

// parseJumps reads [user@]host[:port] and ssh:// URLs, separated by commas;
// the first is the first to connect to. none is none.
func parseJumps(s string) ([]jump, error) {
	if strings.EqualFold(s, "none") || s == "" {
		return nil, nil
	}
	var jumps []jump
	for written := range strings.SplitSeq(s, ",") {
		j, err := parseJump(strings.TrimSpace(written))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", written, err)
		}
		jumps = append(jumps, j)
	}
	return jumps, nil
}

func parseJump(s string) (j jump, err error) {
	rest, isURL := strings.CutPrefix(s, "ssh://")
	if isURL {
		rest = strings.TrimSuffix(rest, "/")
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		j.user, rest = rest[:i], rest[i+1:]
		if j.user == "" {
			return jump{}, errors.New("no user before the @")
		}
		if isURL {
			if j.user, err = url.PathUnescape(j.user); err != nil {
				return jump{}, err
			}
		}
	}
	port, hasPort := "", false
	if inner, ok := strings.CutPrefix(rest, "["); ok {
		j.host, rest, ok = strings.Cut(inner, "]")
		port, hasPort = strings.CutPrefix(rest, ":")
		if !ok || rest != "" && !hasPort {
			return jump{}, errors.New("not [address]:port")
		}
	} else if _, err := netip.ParseAddr(rest); err == nil {
		j.host = rest // an IPv6 address has colons, too
	} else {
		j.host, port, hasPort = strings.Cut(rest, ":")
	}
	if hasPort && port != "" {
		if j.port, err = parsePort(port); err != nil {
			return jump{}, err
		}
	}
	switch {
	case j.host == "":
		return jump{}, errors.New("no host")
	case strings.Contains(j.host+port, "/"):
		return jump{}, errors.New("a path, which ssh refuses")
	}
	return j, nil
}

// checkAlias refuses what ssh would not take for the name of a host. user@ is
// not a part of it.
func checkAlias(alias string) error {
	switch {
	case alias == "":
		return errors.New("no alias")
	case alias[0] == '-':
		return fmt.Errorf("alias %q begins with a hyphen", alias)
	case strings.Contains(alias, "@"):
		return fmt.Errorf("alias %q has a user in it; write that elsewhere", alias)
	}
	for _, r := range alias {
		if strings.ContainsRune("'`\"$\\;&<>|(){},", r) || unicode.IsSpace(r) || unicode.IsControl(r) {
			return fmt.Errorf("alias %q has a %q in it", alias, r)
		}
	}
	return nil
}

// request is a host that was asked for, on the way to others.
type request struct {
	alias   string
	written Written
}

// jumps returns the hosts on the way to one, first the one to connect to
// first. chain are the hosts beyond it.
func (e *evaluation) jumps(host, file string, chain []request) ([]*Host, error) {
	written, ok := e.values.get("proxyjump")
	if !ok || strings.EqualFold(written.args[0], "none") {
		return nil, nil
	}
	fail := func(err error) ([]*Host, error) {
		if written.pos == "" {
			return nil, fmt.Errorf("jump %q: %w", written.args[0], err)
		}
		return nil, fmt.Errorf("%s: ProxyJump: %w", written.pos, err)
	}
	list := written.args[0]
	if !written.literal {
		all := e.tokens(host)
		var err error
		list, err = sshsyntax.Tokens{'h': all['h'], 'n': all['n'], 'p': all['p'], 'r': all['r']}.Expand(list)
		if err != nil {
			return fail(err)
		}
	}
	jumps, err := parseJumps(list)
	if err != nil {
		return fail(err)
	}
	// The last one is the next to this host. It goes through those before it,
	// or else through what its own blocks say.
	nearest, before := jumps[len(jumps)-1], jumps[:len(jumps)-1]
	next := request{nearest.host, Written{User: nearest.user, Port: nearest.port}}
	var names []string
	for _, j := range before {
		names = append(names, j.String())
	}
	next.written.ProxyJump = strings.Join(names, ",")

	if slices.Contains(chain, next) || len(chain) > maxJumps {
		var way []string
		for _, r := range chain {
			way = append(way, r.alias)
		}
		way = append(way, next.alias)
		return fail(fmt.Errorf("goes in a circle: %s; exclude the jump host from it, as in Host * !%s", strings.Join(way[:min(len(way), 6)], " -> "), next.alias))
	}
	h, err := e.reader.resolve(next.alias, file, next.written, append(slices.Clip(chain), next))
	if err != nil {
		return nil, err
	}
	return append(h.Jumps, h), nil
}
