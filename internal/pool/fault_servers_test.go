//go:build unix

package pool

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// TestLostSSHD is the same with the real one, its connection process killed.
func TestLostSSHD(t *testing.T) {
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
	cfg.User = d.User
	h := open(t, cfg, quick())
	addr := listen(t, func(c net.Conn) {
		buf := make([]byte, 4096)
		for {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	})
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
		var wg sync.WaitGroup
		var reading sync.WaitGroup
		for range 8 {
			// What was just connecting has died with the sessions, so the tunnel may be down.
			c := tunneltest.MustDial(t, h, Target{Network: "tcp", Address: addr, Patient: true})
			reading.Add(1)
			wg.Go(func() {
				if _, err := io.ReadFull(c, make([]byte, 100_000)); err != nil {
					t.Error(err)
				}
				reading.Done()
				_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
				_, err := io.Copy(io.Discard, c)
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("signal %v: a cut stream ended with %v", sig, err)
				}
			})
		}
		reading.Wait()
		d.KillSessions(sig)
		wg.Wait()
	}
}

// TestServerRekey: sshd's own rekeys, as often as they come, disturb nobody.
func TestServerRekey(t *testing.T) {
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "RekeyLimit 1M"})
	cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
	cfg.User = d.User
	load(t, open(t, cfg, quick()), 64, 6)
	if logins := d.Logins(); logins != 1 {
		t.Errorf("%d logins, want 1", logins)
	}
}
