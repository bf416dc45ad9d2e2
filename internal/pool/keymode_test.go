//go:build unix

package pool

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/renewal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

const keyModeWarning = "private key can be read by others than its owner; run chmod 600 on it"

// TestKeyMode: a tunnel warns of its key once, however often it connects, and again
// when the mode changes meanwhile.
func TestKeyMode(t *testing.T) {
	sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	key, err := os.ReadFile(sshd.ClientKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	path := sshtest.WriteFile(t, "key", key)
	chmod := func(mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	chmod(0o640)
	set := quick()
	logs := observed(&set)
	h := open(t, connect.Config{
		Name: "test", Address: sshd.Addr(), User: sshd.User, IdentityAgent: "none", IdentitiesOnly: true,
		IdentityFiles: []sshauth.IdentityFile{{Path: path}}, KnownHosts: []string{sshd.KnownHostsFile()},
	}, set)
	warnings := func() int { return logs.FilterMessage(keyModeWarning).Len() }
	sshtest.Eventually(t, 10*time.Second, "a warning", func() bool { return warnings() > 0 })
	for range 3 {
		before := h.activeMembers()
		h.Reconnect()
		sshtest.Eventually(t, 20*time.Second, "another connection", func() bool {
			now := h.activeMembers()
			return len(now) == 1 && !slices.Equal(now, before)
		})
	}
	if n := warnings(); n != 1 {
		t.Errorf("%d warnings", n)
	}
	chmod(0o644)
	sshtest.Eventually(t, 3*renewal.Recheck, "another warning", func() bool { return warnings() > 1 })
}
