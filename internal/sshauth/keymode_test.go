//go:build unix

package sshauth

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestKeyModes: a private key that others can read is warned of once, and again
// when its mode or its content changes; not when it is written again as it is.
func TestKeyModes(t *testing.T) {
	const warning = "private key can be read by others than its owner; run chmod 600 on it"
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

	core, logs := observer.New(zap.DebugLevel)
	log := func() *zap.Logger { return zap.New(core) }
	files := []string{path, public, filepath.Join(dir, "absent"), dir}
	var k KeyModes
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
			k.Look(files, log)
		}
		if step.warned != "" {
			want = append(want, step.warned)
		}
		var got []string
		for _, p := range logs.FilterMessage(warning).All() {
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
