package config

// way.go contains the ways to a bastion that are neither direct nor through
// another tunnel: proxies, and commands.

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"unicode"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// AllowProxyCommand is the environment variable of the process that has to be 1
// for a configuration to run commands. Whoever may write a configuration,
// over the admin API perhaps, may not run commands by that.
const AllowProxyCommand = "CADDY_SSH_TUNNEL_ALLOW_PROXY_COMMAND"

// ErrCommandsForbidden refuses a command.
var ErrCommandsForbidden = errors.New("running commands is not allowed, and nothing was; set CADDY_SSH_TUNNEL_ALLOW_PROXY_COMMAND=1 in Caddy's environment to allow it")

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
		if !commandsAllowed() {
			r.fail("proxy_command", ErrCommandsForbidden)
		}
	}
	if h != nil && h.ProxyCommand != "" && ways == 0 {
		r.fail("ssh_config", t.commandLikeSSH(h, cfg))
	}
}

// commandsAllowed reports whether the environment allows it to run commands.
func commandsAllowed() bool { return os.Getenv(AllowProxyCommand) == "1" }

// commandLikeSSH takes the command that ssh would run in a shell.
func (t *Tunnel) commandLikeSSH(h *sshconfig.Host, cfg *tunnel.Config) error {
	fail := func(err error) error {
		return fmt.Errorf("%s: ProxyCommand: %w", h.Where("ProxyCommand"), err)
	}
	if !commandsAllowed() {
		return fail(ErrCommandsForbidden)
	}
	argv, err := splitCommand(h.ProxyCommand)
	if err != nil {
		return fail(err)
	}
	if err := redact.CheckPath(argv[0]); err != nil {
		return fail(err)
	}
	// The other tokens are replaced when the command runs.
	alias := strings.NewReplacer("%%", "%%", "%n", strings.ReplaceAll(h.Alias, "%", "%%"))
	for i, arg := range argv {
		argv[i] = alias.Replace(arg)
	}
	cfg.ProxyCommand = argv
	return nil
}

// splitCommand splits a command at its spaces, those in quotes excepted. No
// shell is going to read it: what would mean something to one is refused.
func splitCommand(command string) ([]string, error) {
	refuse := func(r rune) error {
		return fmt.Errorf("%q is for a shell, and none is run; write a command with plain arguments, or put it into a script", string(r))
	}
	var argv []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	for _, r := range command {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == '\'':
			word.WriteRune(r)
		case strings.ContainsRune("$`\\", r):
			return nil, refuse(r)
		case quote == '"':
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case unicode.IsSpace(r):
			if inWord {
				argv = append(argv, word.String())
				word.Reset()
				inWord = false
			}
		case strings.ContainsRune("|&;<>()*?[", r) || !inWord && strings.ContainsRune("~#!{", r):
			return nil, refuse(r)
		default:
			if r == '=' && len(argv) == 0 {
				return nil, fmt.Errorf("%q before the command is for a shell, and none is run; put it into a script", word.String()+"=")
			}
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a %q without its end", string(quote))
	}
	if inWord {
		argv = append(argv, word.String())
	}
	if len(argv) > 0 && argv[0] == "exec" {
		argv = argv[1:] // to a shell it says to be replaced by the command
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("no command")
	}
	return argv, nil
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
