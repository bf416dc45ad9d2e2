package tunneltest

import (
	"context"
	"net"

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
