//go:build unix

package tunneltest

import (
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func init() {
	Servers = append(Servers,
		Server{"openssh", func(t testing.TB) connect.Config {
			d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
			cfg := Config(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
			cfg.User = d.User
			return cfg
		}},
		Server{"dropbear", func(t testing.TB) connect.Config {
			d := sshtest.StartDropbear(t, sshtest.DropbearOptions{})
			cfg := Config(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
			cfg.User = d.User
			return cfg
		}},
	)
}
