package config

// way.go contains the ways to a bastion that are neither direct nor through
// another tunnel: proxies, and commands.

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// resolveWay resolves the way to the bastion. What the tunnel does not say
// itself comes from h, unless that is nil.
func (t *Tunnel) resolveWay(r *resolver, cfg *tunnel.Config, h *sshconfig.Host) {
	ways := 0
	for _, written := range []bool{t.ProxyJump != "", t.Proxy != "", len(t.ProxyCommand) > 0} {
		if written {
			ways++
		}
	}
	if ways > 1 {
		r.fail("proxy", errors.New("proxy_jump, proxy and proxy_command are different ways to the bastion; keep one of them"))
	}
	if t.Proxy != "" {
		var err error
		cfg.Proxy, err = parseProxy(t.Proxy, replaceSecret)
		r.fail("proxy", err)
	}
	if len(t.ProxyCommand) > 0 {
		cfg.ProxyCommand = r.each("proxy_command", t.ProxyCommand, r.secret)
		r.fail("proxy_command", redact.CheckPath(cfg.ProxyCommand[0])) // which is shown where it runs
		if !subprocess.Allowed() {
			r.fail("proxy_command", subprocess.ErrForbidden)
		}
	}
	if h != nil && h.ProxyCommand != "" && ways == 0 {
		r.fail("ssh_config", commandLikeSSH(h, cfg))
	}
}

// commandLikeSSH takes the command that a shell runs, as it does for ssh.
func commandLikeSSH(h *sshconfig.Host, cfg *tunnel.Config) error {
	err := redact.CheckPath(subprocess.Program(h.ProxyCommand)) // which is shown where it runs
	if !subprocess.Allowed() {
		err = subprocess.ErrForbidden
	}
	if err != nil {
		return fmt.Errorf("%s: ProxyCommand: %w", h.Where("ProxyCommand"), err)
	}
	// The other tokens are replaced when the command runs.
	literal := func(token byte) string { return strings.ReplaceAll(h.Tokens[token], "%", "%%") }
	command := strings.NewReplacer("%%", "%%", "%n", literal('n'), "%k", literal('k')).Replace(h.ProxyCommand)
	cfg.ProxyCommand, cfg.ProxyShell, cfg.ProxyUseFdpass = []string{command}, true, h.ProxyUseFdpass
	return nil
}

// errProxyAddress does not show the address: it may be user info without the @.
var errProxyAddress = errors.New("what follows the user info is not <host>:<port>; write user info before an @, an IPv6 address in brackets, and a port from 1 to 65535")

// parseProxy parses <scheme>://[<user>[:<password>]@]<host>:<port>, of which
// replace resolves the address alone: the user info is resolved at each connect.
// A part of it without placeholders may have percent-encoded characters. Errors
// do not show it, nor what could be it.
func parseProxy(raw string, replace func(string) (string, error)) (*dial.Proxy, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if err := redact.Check(scheme); err != nil {
		return nil, err
	}
	if !ok || strings.Contains(scheme, "{") {
		return nil, errors.New("not a URL; write socks5://<host>:<port> or http://<host>:<port>")
	}
	switch {
	case scheme == "socks5" || scheme == "http":
	case strings.ContainsAny(scheme, ":@"): // a secret may be in there
		return nil, errors.New("it does not begin with a scheme; write socks5:// or http:// before the user info")
	default:
		return nil, fmt.Errorf("unknown scheme %q; one of socks5, http", scheme)
	}
	p := &dial.Proxy{Scheme: scheme}
	address := rest
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		var err error
		if p.User, p.Password, err = splitUserInfo(rest[:i]); err != nil {
			return nil, err
		}
		address = rest[i+1:]
	}
	address, err := replace(address)
	if err == nil {
		err = redact.Check(address)
	}
	if err != nil {
		return nil, err
	}
	address = strings.TrimSuffix(address, "/")
	if !strings.Contains(address, ":") {
		return nil, fmt.Errorf("%q is not <host>:<port>; a proxy has no default port", address)
	}
	server, err := hostport.ParseServer(address)
	if err != nil || server.User != "" || server.Port == "" {
		return nil, errProxyAddress
	}
	p.Address = server.Address()
	return p, nil
}

// splitUserInfo splits <user>[:<password>] at a colon that is in no placeholder.
func splitUserInfo(s string) (user, password string, err error) {
	split, depth := -1, 0
	for i, r := range s {
		switch {
		case r == '{':
			depth++
		case r == '}':
			depth--
		case r == ':' && depth == 0 && split < 0:
			split = i
		}
	}
	user = s
	hasPassword := split >= 0
	if hasPassword {
		user, password = s[:split], s[split+1:]
	}
	if user == "" || hasPassword && password == "" {
		return "", "", errors.New("an empty user or password; write <user>:<password>@ or leave it out")
	}
	for _, part := range []*string{&user, &password} {
		if strings.ContainsAny(*part, "{}") {
			continue
		}
		plain, err := url.PathUnescape(*part)
		if err != nil {
			return "", "", errors.New("the user info has a % that begins no percent-encoded character; write %25 for it")
		}
		*part = strings.ReplaceAll(plain, "{", `\{`) // no placeholder
	}
	return user, password, nil
}
