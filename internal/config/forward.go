package config

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Forward is a local or a remote forward: it forwards raw connections from an
// address to a target at the tunnel's other end.
type Forward struct {
	// Where to listen: `[host:]port` or `unix//path`. Without a host it is the
	// loopback address, with `*` all addresses. Required.
	//
	// A local forward listens here. The address of a socket may end in its
	// permissions, as in `unix//path|0220`; they are 0200 if it does not. `fd/3` is a
	// socket that Caddy was started with, as by systemd's socket activation. A
	// remote forward listens on the bastion, where GatewayPorts says whether
	// other hosts than loopback are allowed.
	Listen string `json:"listen"`

	// The target of the connections: `host:port` or `unix//path`. The bastion
	// resolves the target of a local forward, and this machine that of a remote
	// forward. Required.
	Target string `json:"target"`

	ForwardOptions
}

// DynamicForward is a SOCKS5 server whose clients reach what the bastion reaches.
// The bastion resolves names.
type DynamicForward struct {
	// Where to listen: `[host:]port`, `unix//path`, or `fd/3` for a socket that Caddy was
	// started with. Without a host it is the loopback address. With another, users are
	// required. Required.
	Listen string `json:"listen"`

	// Who may use it. Default: everybody who can connect.
	Users []ProxyUser `json:"users,omitempty"`

	// How long a connection may have no data in either direction before Caddy closes
	// it, such as `1h`. Default: no limit.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// How many connections may be open at a time. Caddy refuses further ones.
	// Default: any number.
	MaxConnections int `json:"max_connections,omitempty"`
}

// ProxyUser is a user of a proxy.
type ProxyUser struct {
	// The user's name. Required.
	Name string `json:"name"`

	// The password. It is a secret: write a placeholder, which Caddy replaces when
	// it loads the configuration. Required.
	Password string `json:"password"`
}

// ResolvedForward is a forward as it is to be opened.
type ResolvedForward struct {
	Listen hostport.ListenAddress
	Target tunnel.Target // zero for a dynamic forward, whose clients name theirs
	ForwardOptions
	Users map[string]string // the passwords of a dynamic forward's, by name
}

// errEmptyForward refuses a null in JSON.
var errEmptyForward = errors.New("empty; give it an address to listen on")

// resolveForwards checks all forwards of a tunnel.
func (t *Tunnel) resolveForwards(resolved *Resolved, logger *zap.Logger) error {
	for _, f := range t.LocalForwards {
		local, err := f.resolve(hostport.Here, hostport.Bastion)
		if err == nil {
			err = dialer.CheckPermitted(resolved.Permission, local.Target)
		}
		if err != nil {
			return fmt.Errorf("local_forward: %w", err)
		}
		resolved.LocalForwards = append(resolved.LocalForwards, local)
	}
	listening := make(map[string]bool)
	for _, f := range t.RemoteForwards {
		remote, err := f.resolve(hostport.Bastion, hostport.Here)
		if err != nil {
			return fmt.Errorf("remote_forward: %w", err)
		}
		key := remote.Listen.String()
		if listening[key] {
			return fmt.Errorf("remote_forward: %q is listened on twice; keep one", f.Listen)
		}
		listening[key] = true
		resolved.RemoteForwards = append(resolved.RemoteForwards, remote)
	}
	for _, f := range t.DynamicForwards {
		dynamic, err := f.resolve(logger)
		if err != nil {
			return fmt.Errorf("dynamic_forward: %w", err)
		}
		resolved.DynamicForwards = append(resolved.DynamicForwards, dynamic)
	}
	return nil
}

// resolve checks the forward, which listens at one side and whose target is at
// the other.
func (f *Forward) resolve(listenAt, targetAt hostport.Side) (resolved ResolvedForward, err error) {
	if f == nil {
		return resolved, errEmptyForward
	}
	r := new(resolver)
	listen, target := r.value("listen address", f.Listen), r.value("target", f.Target)
	if r.err != nil {
		return resolved, r.err
	}
	resolved.ForwardOptions = f.ForwardOptions
	if resolved.Listen, err = hostport.ParseListen(listen, listenAt); err != nil {
		return resolved, err
	}
	if resolved.Target, err = hostport.ParseTarget(target, targetAt); err != nil {
		return resolved, err
	}
	return resolved, f.Check()
}

// resolve checks the forward.
func (f *DynamicForward) resolve(logger *zap.Logger) (resolved ResolvedForward, err error) {
	if f == nil {
		return resolved, errEmptyForward
	}
	r := new(resolver)
	listen := r.value("listen address", f.Listen)
	if r.err != nil {
		return resolved, r.err
	}
	resolved.ForwardOptions = ForwardOptions{IdleTimeout: f.IdleTimeout, MaxConnections: f.MaxConnections}
	if resolved.Listen, err = hostport.ParseListen(listen, hostport.Here); err != nil {
		return resolved, err
	}
	isKnown := resolved.Listen.Network != hostport.InheritedNetwork // where it can be reached: CheckReach
	if isKnown && !resolved.Listen.IsLoopback() && len(f.Users) == 0 {
		return resolved, errOpenProxy(f.Listen)
	}
	resolved.Users = make(map[string]string)
	for _, u := range f.Users {
		if err := u.resolve(resolved.Users, logger); err != nil {
			return resolved, err
		}
	}
	return resolved, resolved.Check()
}

// errOpenProxy refuses a SOCKS5 server without users.
func errOpenProxy(address string) error {
	return fmt.Errorf("listen address %q: whoever reaches it could use the tunnel; add user <name> <password>, or listen on 127.0.0.1", address)
}

// CheckReach refuses a dynamic forward without users if others than this machine's users
// can connect to its socket, which has an address.
func (f *ResolvedForward) CheckReach(socket net.Addr) error {
	tcp, isTCP := socket.(*net.TCPAddr)
	_, isUnix := socket.(*net.UnixAddr)
	if len(f.Users) > 0 || isUnix || isTCP && tcp.IP.IsLoopback() {
		return nil
	}
	return errOpenProxy(fmt.Sprintf("%s (%s)", f.Listen, socket))
}

// resolve adds the user to those before. Its errors show no password.
func (u ProxyUser) resolve(users map[string]string, logger *zap.Logger) error {
	const most = 255 // bytes; the protocol has room for no more
	name, err := replacePlaceholders(u.Name)
	if err == nil {
		err = redact.Check(name)
	}
	switch {
	case err != nil:
		return fmt.Errorf("user: %w", err)
	case name == "" || len(name) > most:
		return fmt.Errorf("user %q: a name has from 1 to %d bytes", name, most)
	}
	if _, ok := users[name]; ok {
		return fmt.Errorf("user %q is written twice; keep one", name)
	}
	password, err := replaceSecret(u.Password)
	switch {
	case err != nil:
		return fmt.Errorf("password of user %q: %w", name, err)
	case password == "" || len(password) > most:
		return fmt.Errorf("password of user %q: it has from 1 to %d bytes", name, most)
	case password == u.Password:
		logger.Warn(fmt.Sprintf("password of dynamic_forward's user %q is written literally and shows in the configuration; use a placeholder, {env.NAME} or {file./path}", name))
	}
	users[name] = password
	return nil
}

// claimAddresses notes where the tunnel's forwards listen here, of which there
// may be one per address.
func (r *Resolved) claimAddresses(claimed map[string]string) error {
	for i, f := range slices.Concat(r.LocalForwards, r.DynamicForwards) {
		option, address := "local_forward", f.Listen.String()
		if i >= len(r.LocalForwards) {
			option = "dynamic_forward"
		}
		if by, ok := claimed[address]; ok {
			return fmt.Errorf("tunnel %q: %s: %q is already in use by %s", r.Config.Name, option, address, by)
		}
		claimed[address] = fmt.Sprintf("a %s of tunnel %q", option, r.Config.Name)
	}
	return nil
}
