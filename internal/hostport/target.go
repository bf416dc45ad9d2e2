package hostport

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostname"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// ParseTarget reads "host:port" or "unix//path", as one side is to understand it.
func ParseTarget(s string, at Side) (tunnel.Target, error) {
	where := "the bastion"
	if at == Here {
		where = "this machine"
	}
	fail := func(err error) (tunnel.Target, error) {
		return tunnel.Target{}, fmt.Errorf("target %q: %w", s, err)
	}
	if network, rest, ok := strings.Cut(s, "/"); ok {
		if network != "unix" {
			return fail(fmt.Errorf("network %q does not go through a tunnel; use host:port or unix//path", network))
		}
		if !strings.HasPrefix(rest, "/") {
			return fail(fmt.Errorf("not an absolute path on %s; write unix//path", where))
		}
		return tunnel.Target{Network: "unix", Address: rest}, nil
	}

	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if strings.Count(s, ":") > 1 && !strings.HasPrefix(s, "[") {
			return fail(errors.New("an IPv6 address stands in brackets, before its port"))
		}
		return fail(errors.New("no port; write host:port"))
	}
	if host == "" {
		return fail(fmt.Errorf(`no host; %s itself is "localhost"`, where))
	}
	if err := hostname.CheckHost(host); err != nil {
		return fail(err)
	}
	if _, ok := portNumber(port); !ok {
		return fail(fmt.Errorf("port %q is not one from 1 to 65535", port))
	}
	return tunnel.Target{Network: "tcp", Address: net.JoinHostPort(host, port)}, nil
}
