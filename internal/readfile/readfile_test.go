//go:build unix

package readfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestOddFiles: reading what is no regular file neither blocks for ever nor fills the
// memory. A key can come through a pipe.
func TestOddFiles(t *testing.T) {
	sshtest.Takes(t, 7*time.Second)
	t.Parallel()
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
		{"a pipe without another end", pipe("", ""), ""},
		{"a pipe through which nothing comes", pipe("held", "half a key"), "nothing came through the named pipe for 5s; write the path of a file"},
		{"a device without end", "/dev/zero", "it is longer than 64 MiB; write the path of a file of keys"},
		{"a device without anything", os.DevNull, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := Read("identity_file", c.path)
			switch {
			case c.text == "" && (err != nil || len(data) > 0):
				t.Errorf("%d bytes, %v", len(data), err)
			case c.text != "" && (err == nil || err.Error() != `identity_file "`+c.path+`" cannot be read: `+c.text):
				t.Errorf("got %v, want %q", err, c.text)
			}
		})
	}
	served := pipe("", "")
	go func() { // returns when somebody has read it
		if f, err := os.OpenFile(served, os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteString("a key")
			_ = f.Close()
		}
	}()
	sshtest.Eventually(t, 10*time.Second, "a key through a pipe", func() bool {
		data, err := Read("identity_file", served)
		return err == nil && string(data) == "a key"
	})
	if _, err := Read("identity_file", filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
