//go:build unix

package sshtunnel

import (
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestDialerOpenSSH dials hosts and sockets through sshd, and what sshd refuses.
func TestDialerOpenSSH(t *testing.T) {
	socket, absent := sshtest.SocketPath(t), sshtest.SocketPath(t)
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() { // returns when the listener is closed
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			shout(c)
			_ = c.Close()
		}
	}()
	const unknown = "no-such-host.invalid:80"
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: fmt.Sprintf("PermitOpen 127.0.0.1:* %s [%s]:* [%s]:*\n", unknown, socket, absent)})
	app := provisionApp(t, map[string]*config.Tunnel{"open": {
		Hosts: []string{s.User + "@" + s.Addr()}, IdentityFiles: []config.IdentityFile{{Path: s.ClientKeyFile()}},
		HostKeys: []string{s.HostKey.Fingerprint()}, ConnectTimeout: caddy.Duration(sshtest.Patience),
	}})
	app.start(t)
	d := app.dialer(t, "open")

	wantEchoed(t, mustDial(t, d, "tcp", sshtest.Listen(t, shout)))
	wantEchoed(t, mustDial(t, d, "unix", socket))
	for _, test := range []struct {
		network, address string
		is               func(error) bool
	}{
		{"tcp", freeAddress(t), refusedFor(RefusedConnectFailed, syscall.ECONNREFUSED)},
		{"tcp", unknown, is[*net.DNSError]},
		{"tcp", "localhost:80", refusedFor(RefusedProhibited, nil)},
		{"unix", absent, refusedFor(RefusedConnectFailed, nil)},
		{"unix", "/run/other.sock", refusedFor(RefusedConnectFailed, nil)}, // sshd does not say that it forbids it
	} {
		conn, err := d.DialContext(t.Context(), test.network, test.address)
		if err == nil {
			_ = conn.Close()
		}
		if !test.is(err) {
			t.Errorf("%s %s: got %v", test.network, test.address, err)
		}
	}
}
