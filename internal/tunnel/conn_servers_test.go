//go:build unix

package tunnel

import (
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func init() {
	servers = append(servers,
		server{"openssh", func(t *testing.T) Config {
			d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
			cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
			cfg.User = d.User
			return cfg
		}},
		server{"dropbear", func(t *testing.T) Config {
			d := sshtest.StartDropbear(t, sshtest.DropbearOptions{})
			cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
			cfg.User = d.User
			return cfg
		}},
	)
}
