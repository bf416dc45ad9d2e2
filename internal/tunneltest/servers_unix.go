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

// SSHD starts an sshd with more configuration, and returns the Config of a tunnel to it.
func SSHD(t testing.TB, config string) (*sshtest.SSHD, connect.Config) {
	t.Helper()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: config})
	cfg := Config(t, s.ClientKey, "", s.Addr())
	cfg.User, cfg.HostKeys, cfg.KnownHosts = s.User, nil, []string{s.KnownHostsFile()}
	return s, cfg
}
