//go:build linux

package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// hosts_test.go has several bastions, and ways to one.

// TestHosts: whatever is wrong with the first bastion, the first request that
// comes is served by the second, within the transport's dial_timeout.
func TestHosts(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(t *testing.T, b *bastion) string{
		"refused": func(t *testing.T, b *bastion) string {
			link := b.link()
			link.Refuse()
			return link.Addr()
		},
		"hangs": func(t *testing.T, b *bastion) string {
			link := b.link()
			link.Freeze(sshtest.Both)
			return link.Addr()
		},
		"blackhole": func(t *testing.T, _ *bastion) string {
			ns := sshtest.NewNetns(t)
			ns.Unplug()
			return net.JoinHostPort(ns.Addr(), "22")
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBastion(t, "")
			c := newCaddy(t)
			c.start(c.caddyfile(b.tunnelTo("prod", "", "host "+first(t, b)+" "+b.Addr(), "user deploy", "identity_file "+b.key, "lazy"), "", proxied))
			if a := c.get("/hello"); a.status != http.StatusOK { // 504 if it takes longer
				t.Error(a)
			}
			if !c.logged("ssh_tunnel", "msg:connected", "address:"+b.Addr()) {
				t.Error("the log does not name the host in use")
			}
		})
	}
}

// TestProxyCommand: no configuration makes Caddy run a command, unless Caddy's
// environment allows it.
func TestProxyCommand(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	mark := filepath.Join(t.TempDir(), "executed")
	tunnel := b.tunnel("prod", `proxy_command sh -c "touch `+mark+`; exec nc \"$1\" \"$2\"" sh %h %p`)

	c := newCaddy(t)
	c.start(c.caddyfile(b.tunnel("prod"), "", proxied))
	if err := c.load(c.caddyfile(tunnel, "", proxied)); err == nil {
		t.Error("a command is taken")
	}
	if _, err := os.Stat(mark); err == nil {
		t.Fatal("a command was run")
	}
	c.wantServed()

	allowed := startCaddy(t, func(c *caddy) string { return c.caddyfile(tunnel, "", proxied) }, "CADDY_SSH_TUNNEL_ALLOW_PROXY_COMMAND=1")
	allowed.wantServed()
	if _, err := os.Stat(mark); err != nil {
		t.Error(err)
	}
}
