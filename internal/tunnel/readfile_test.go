//go:build unix

package tunnel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestOddFiles: what is no ordinary file neither keeps a tunnel for ever nor fills
// the memory. A key can come through a pipe.
func TestOddFiles(t *testing.T) {
	sshtest.Takes(t, 7*time.Second)
	t.Parallel()
	key := sshtest.NewKey()
	pipe := func(hold, content string) string {
		path := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if hold == "" {
			return path
		}
		// Both ways, so that it waits for nobody.
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ name, path, text string }{
		{"a pipe without another end", pipe("", ""), "is empty; copy the private key into it"},
		{"a pipe through which nothing comes", pipe("held", "half a key"), "nothing came through the named pipe for 5s; write the path of a file"},
		{"a device without end", "/dev/zero", "longer than 64 MiB; write the path of a file of keys"},
		{"a device without anything", os.DevNull, "is empty; copy the private key into it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			within(t, 2*fileTimeout, "reading it", func() {
				_, err := new(Config).loadIdentity(IdentityFile{Path: c.path})
				if err == nil || !strings.Contains(err.Error(), c.text) {
					t.Errorf("got %v, want %q", err, c.text)
				}
			})
		})
	}
	served := pipe("", "")
	go func() { // returns when somebody has read it
		if f, err := os.OpenFile(served, os.O_WRONLY, 0); err == nil {
			_, _ = f.Write(key.PEM(""))
			_ = f.Close()
		}
	}()
	sshtest.Eventually(t, 10*time.Second, "a key through a pipe", func() bool {
		_, err := new(Config).loadIdentity(IdentityFile{Path: served})
		return err == nil
	})
	if _, err := readAll(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
