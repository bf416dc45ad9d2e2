package sshtunnel

// forward_dynamic.go contains dynamic forwards, as of ssh -D.

import (
	"context"
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// DynamicForward is a SOCKS5 server, whose clients reach what the bastion does.
// Names are resolved by the bastion.
type DynamicForward struct {
	// Where to listen: `[host:]port` or `unix//path`. Without a host it is the
	// loopback address. With another, users are required. Required.
	Listen string `json:"listen"`

	// Who may use it. Default: everybody who can connect.
	Users []ProxyUser `json:"users,omitempty"`

	// How long a connection may go without a byte in either direction before it
	// is ended. Default: for ever.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// How many connections there may be at a time; those beyond are refused.
	// Default: any number.
	MaxConnections int `json:"max_connections,omitempty"`

	listen listenAddress
	users  map[string]string // passwords by name
}

// ProxyUser is a user of a proxy.
type ProxyUser struct {
	// The user's name. Required.
	Name string `json:"name"`

	// The password. A secret: write a placeholder, which is replaced when the
	// configuration is loaded. Required.
	Password string `json:"password"`
}

// options returns those that it has in common with other forwards.
func (f *DynamicForward) options() *ForwardOptions {
	return &ForwardOptions{IdleTimeout: f.IdleTimeout, MaxConnections: f.MaxConnections}
}

// provision checks the forward.
func (f *DynamicForward) provision(logger *zap.Logger) error {
	if f == nil {
		return errEmptyForward
	}
	r := new(resolver)
	listen := r.value("listen address", f.Listen)
	if r.err != nil {
		return r.err
	}
	var err error
	if f.listen, err = parseListen(listen, here); err != nil {
		return err
	}
	if !f.listen.isLoopback() && len(f.Users) == 0 {
		return fmt.Errorf("listen address %q: whoever reaches it could use the tunnel; add user <name> <password>, or listen on 127.0.0.1", f.Listen)
	}
	f.users = make(map[string]string)
	for _, u := range f.Users {
		if err := f.provisionUser(u, logger); err != nil {
			return err
		}
	}
	return f.options().check()
}

// provisionUser resolves a user. Its errors show no password.
func (f *DynamicForward) provisionUser(u ProxyUser, logger *zap.Logger) error {
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
	if _, ok := f.users[name]; ok {
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
	f.users[name] = password
	return nil
}

// open opens the forward.
func (f *DynamicForward) open(tun dialer, logger *zap.Logger) (openForward, error) {
	socks := &forward.SOCKS5{
		Users: f.users,
		Dial: func(ctx context.Context, client net.Conn, address string) (net.Conn, error) {
			return dialFor(tun, tunnel.Target{Network: "tcp", Address: address, ByClient: true})(ctx, client)
		},
	}
	fwd := &forward.Forwarder{
		Dial:        socks.Connect,
		DialTimeout: socks.DialTimeout(),
		Logger:      logger,
		Track:       trackConn,
	}
	f.options().apply(fwd)
	open, err := sockets.open(f.listen, fwd)
	if err != nil {
		return openForward{}, fmt.Errorf("dynamic_forward: %w", err)
	}
	return open, nil
}
