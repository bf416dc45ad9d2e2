//go:build unix

package tunnel

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestKeyMode: a private key that others can read is warned of once, and again when
// its mode or its content changes; not at a reconnect, nor when it is written again
// as it is.
func TestKeyMode(t *testing.T) {
	const message = "private key can be read by others than its owner; run chmod 600 on it"
	sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	key, err := os.ReadFile(sshd.ClientKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	put := func(mode os.FileMode, content []byte) {
		t.Helper()
		fresh := filepath.Join(dir, "fresh")
		write(t, fresh, string(content))
		if err := os.Chmod(fresh, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(fresh, path); err != nil {
			t.Fatal(err)
		}
	}
	public := filepath.Join(dir, "public.pub")
	write(t, public, authorized(publicOf(t, edKey(1))))
	for _, file := range []string{public} {
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(0o640, key)

	set := quick()
	logs := observed(&set)
	cfg := Config{
		Name: "test", Address: sshd.Addr(), User: sshd.User, IdentityAgent: "none", IdentitiesOnly: true,
		IdentityFiles: []IdentityFile{{Path: path}, {Path: public}}, KnownHosts: []string{sshd.KnownHostsFile()},
	}
	h := open(t, cfg, set)
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	var modes []string
	seen := func(what string, mode string) {
		t.Helper()
		modes = append(modes, mode)
		var got []string
		sshtest.Eventually(t, 3*fileRecheck, what, func() bool {
			got = nil
			for _, e := range logs.FilterMessage(message).All() {
				if e.ContextMap()["path"] == path {
					got = append(got, fmt.Sprint(e.ContextMap()["mode"]))
				}
			}
			return len(got) >= len(modes)
		})
		if fmt.Sprint(got) != fmt.Sprint(modes) {
			t.Errorf("%s: warned of %v, want %v", what, got, modes)
		}
	}
	seen("at first", "0640")

	// None of these is news; the next one is, and comes after them.
	replaced := func() {
		t.Helper()
		before := sshd.Log()
		if err := h.Reconnect(); err != nil {
			t.Fatal(err)
		}
		sshtest.Eventually(t, 20*time.Second, "another login", func() bool { return len(sshd.Log()) > len(before) })
	}
	replaced()
	put(0o640, key)
	replaced()
	put(0o604, key)
	seen("another mode", "0604")
	put(0o604, append(key, '\n'))
	seen("another content", "0604")
	put(0o600, key)
	sshtest.Eventually(t, 3*fileRecheck, "a reconnect", func() bool { return h.Connect(t.Context()) == nil })
	if all := logs.FilterMessage(message).Len(); all != len(modes) {
		t.Errorf("%d warnings, want %d", all, len(modes))
	}
}
