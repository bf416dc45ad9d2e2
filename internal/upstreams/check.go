package upstreams

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// pairedTransport returns the transport that dials the upstreams. It refuses any but one
// of the same tunnel: others would dial them from this machine, or behind another
// bastion, where the same addresses are other servers.
func pairedTransport(h *reverseproxy.Handler, name string) (*transport.Transport, error) {
	if h == nil {
		return nil, errors.New("dynamic ssh_tunnel works in reverse_proxy only, where its transport can be checked")
	}
	t, ok := h.Transport.(*transport.Transport)
	switch {
	case !ok:
		return nil, fmt.Errorf("dynamic ssh_tunnel %[1]s needs transport ssh_tunnel %[1]s in the same reverse_proxy; another transport would dial the upstreams from this machine", name)
	case t.TunnelName != name:
		return nil, fmt.Errorf("dynamic ssh_tunnel %s and transport ssh_tunnel %s name different tunnels, behind which the same addresses are different servers; name one tunnel in both", name, t.TunnelName)
	}
	return t, nil
}

// errNoResolvers is why resolvers has no default.
var errNoResolvers = errors.New("no resolvers; name the DNS servers as the bastion sees them, as in resolvers 10.0.0.53, or 127.0.0.53 for systemd-resolved on the bastion (Caddy cannot read the bastion's /etc/resolv.conf, and its own does not apply)")

// check returns the DNS servers, or why the options cannot work. Whether placeholders
// are permitted is for the transport to check, which has the whole source.
func (u *Upstreams) check(tun dialer.Permitter) (servers []tunnel.Target, err error) {
	if err := u.checkType(); err != nil {
		return nil, err
	}
	if u.Name == "" {
		return nil, errors.New("no name to look up")
	}
	for _, s := range []string{u.Name, u.Port, u.Service, u.Proto} {
		if err := redact.Check(caddy.NewReplacer().ReplaceKnown(s, "")); err != nil {
			return nil, err
		}
	}
	written := func(s string) string { return s }
	if !strings.Contains(u.Service+u.Proto+u.Name, "{") {
		if _, err := u.domainName(written); err != nil {
			return nil, err
		}
	}
	if !strings.Contains(u.Port, "{") {
		if _, err := u.upstreamPort(written); err != nil {
			return nil, err
		}
	}
	for _, version := range u.Versions {
		if version != "ipv4" && version != "ipv6" {
			return nil, fmt.Errorf("versions: %s is neither ipv4 nor ipv6", redact.Quote(version))
		}
	}
	for name, d := range map[string]caddy.Duration{"refresh": u.Refresh, "grace_period": u.GracePeriod, "dial_timeout": u.DialTimeout} {
		if d < 0 {
			return nil, fmt.Errorf("%s: %d is negative", name, d)
		}
	}
	if len(u.Resolvers) == 0 {
		return nil, errNoResolvers
	}
	for _, written := range u.Resolvers {
		server, err := ParseResolver(written)
		if err == nil {
			err = dialer.CheckPermitted(tun, server)
		}
		if err != nil {
			return nil, fmt.Errorf("resolvers: %w", err)
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// checkType refuses the options of the other type.
func (u *Upstreams) checkType() error {
	var foreign map[string]bool
	switch u.Type {
	case TypeA:
		foreign = map[string]bool{"service": u.Service != "", "proto": u.Proto != ""}
	case TypeSRV:
		foreign = map[string]bool{"port": u.Port != "", "versions": len(u.Versions) > 0}
	case "":
		return errors.New("no type of records; write a or srv")
	default:
		return fmt.Errorf("type %s is neither a nor srv", redact.Quote(string(u.Type)))
	}
	for _, name := range []string{"service", "proto", "port", "versions"} {
		if foreign[name] {
			return fmt.Errorf("option %q does not go together with %s", name, u.Type)
		}
	}
	if (u.Service == "") != (u.Proto == "") {
		return errors.New("service and proto go together; or write the entire domain name as name, as in _http._tcp.web.internal")
	}
	return nil
}

// ParseResolver reads a DNS server, as the bastion sees it: "host" or "host:port".
func ParseResolver(s string) (tunnel.Target, error) {
	if err := redact.Check(s); err != nil {
		return tunnel.Target{}, err
	}
	if strings.Contains(s, "{") {
		return tunnel.Target{}, fmt.Errorf("%q: placeholders are not allowed; in a Caddyfile, write an environment variable as {$NAME}", s)
	}
	address := s
	if network, rest, ok := strings.Cut(s, "/"); ok {
		if network != "tcp" {
			return tunnel.Target{}, fmt.Errorf("%q: DNS goes over TCP through a tunnel; write host or host:port", s)
		}
		address = rest
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	if _, err := netip.ParseAddr(bare); err == nil || !strings.Contains(address, ":") {
		address = net.JoinHostPort(bare, "53")
	}
	return hostport.ParseTarget(address, hostport.Bastion)
}
