//go:build unix

package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

const keyModeWarning = "private key can be read by others than its owner; run chmod 600 on it"

// TestKeyModes: a private key that others can read is warned of once, and again
// when its mode or its content changes; not when it is written again as it is.
func TestKeyModes(t *testing.T) {
	dir := t.TempDir()
	path, public := filepath.Join(dir, "key"), filepath.Join(dir, "public.pub")
	key := sshtest.EdKey(1)
	put := func(path string, mode os.FileMode, content []byte, modified int) {
		t.Helper()
		sshtest.Write(t, path, string(content))
		at := time.Unix(int64(modified), 0)
		if err := errors.Join(os.Chmod(path, mode), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	put(public, 0o644, []byte(sshtest.AuthorizedKey(sshtest.PublicOf(t, key))), 1)
	one, two := sshtest.NewKey().PEM(""), sshtest.NewKey().PEM("")

	set := quick()
	logs := observed(&set)
	cfg := Config{
		Name: "test", Address: "127.0.0.1:1", User: "u", IdentityAgent: "none", IdentitiesOnly: true, HostKeys: []string{sshtest.AuthorizedKey(sshtest.PublicOf(t, key))},
		IdentityFiles: []IdentityFile{{Path: path}, {Path: public}, {Path: filepath.Join(dir, "absent")}, {Path: dir}},
	}
	h := Open(cfg, set, nil) // which does not watch the files: it is not started
	t.Cleanup(h.Close)
	k := newKeyModes(h.pool)
	var want []string
	for i, step := range []struct {
		name    string
		mode    os.FileMode
		content []byte
		warned  string
	}{
		{"its owner's", 0o600, one, ""},
		{"its group's", 0o640, one, "0640"},
		{"as it is", 0o640, one, ""},
		{"everybody's", 0o604, one, "0604"},
		{"another key", 0o604, two, "0604"},
		{"as it is again", 0o604, two, ""},
		{"writable alone", 0o622, two, ""},
		{"its owner's again", 0o600, two, ""},
		{"everybody's again", 0o604, two, "0604"},
		{"being written", 0o604, bytes.Repeat([]byte{0}, 10), ""},
	} {
		put(path, step.mode, step.content, i)
		for range 2 {
			k.look()
		}
		if step.warned != "" {
			want = append(want, step.warned)
		}
		var got []string
		for _, p := range logs.FilterMessage(keyModeWarning).All() {
			if p.ContextMap()["path"] != path {
				t.Errorf("warned of %v", p.ContextMap()["path"])
			}
			got = append(got, fmt.Sprint(p.ContextMap()["mode"]))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: warned of %v, want %v", step.name, got, want)
		}
	}
}

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
	h := open(t, Config{
		Name: "test", Address: sshd.Addr(), User: sshd.User, IdentityAgent: "none", IdentitiesOnly: true,
		IdentityFiles: []IdentityFile{{Path: path}}, KnownHosts: []string{sshd.KnownHostsFile()},
	}, set)
	warnings := func() int { return logs.FilterMessage(keyModeWarning).Len() }
	sshtest.Eventually(t, 10*time.Second, "a warning", func() bool { return warnings() > 0 })
	for range 3 {
		before := h.pool.activeMembers()
		if err := h.Reconnect(); err != nil {
			t.Fatal(err)
		}
		sshtest.Eventually(t, 20*time.Second, "another connection", func() bool {
			now := h.pool.activeMembers()
			return len(now) == 1 && !slices.Equal(now, before)
		})
	}
	if n := warnings(); n != 1 {
		t.Errorf("%d warnings", n)
	}
	chmod(0o644)
	sshtest.Eventually(t, 3*fileRecheck, "another warning", func() bool { return warnings() > 1 })
}
