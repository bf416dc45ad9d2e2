package tunneltest

import (
	"context"
	"net"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// DialTo returns a bastion's Dial that knows one target only.
func DialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

// LoggedIn is a script that begins after a proper login.
func LoggedIn(then sshtest.Script) sshtest.Script {
	return func(c *sshtest.MaliceConn) {
		if c.Login() {
			then(c)
		}
	}
}

// SSHD starts an sshd with more configuration, and returns the Config of a tunnel to it.
func SSHD(t testing.TB, config string) (*sshtest.SSHD, connect.Config) {
	t.Helper()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: config})
	cfg := Config(t, s.ClientKey, "", s.Addr())
	cfg.User, cfg.HostKeys, cfg.KnownHosts = s.User, nil, []string{s.KnownHostsFile()}
	return s, cfg
}
