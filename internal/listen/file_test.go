//go:build unix

package listen

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestListenSocketMode: whoever sees the file of a socket sees it with its mode.
func TestListenSocketMode(t *testing.T) {
	const mode = 0o222
	path := filepath.Join(sshtest.OthersDir(t), "sock")
	var stop atomic.Bool
	seen := make(chan int)
	// Returns when stop is set.
	go func() {
		n := 0
		for !stop.Load() {
			info, err := os.Lstat(path)
			if err != nil {
				continue
			}
			n++
			if got := info.Mode(); got != fs.ModeSocket|mode {
				t.Errorf("the socket is %v", got)
				break
			}
		}
		seen <- n
	}()
	for range 300 {
		ln, err := ListenFile(path, mode)
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
	}
	ln, err := ListenFile(path, mode)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	stop.Store(true)
	t.Logf("seen %d times", <-seen)
	if _, err := ListenFile(path, mode); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening twice: %v", err)
	}
}

// TestSetModeRaces changes the mode of a socket whose file is replaced by a link
// all the time. What the link leads to keeps its mode.
func TestSetModeRaces(t *testing.T) {
	dir := sshtest.OthersDir(t)
	path, aside, link := filepath.Join(dir, "sock"), filepath.Join(dir, "aside"), filepath.Join(dir, "link")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(secret, nil, 0o600), os.Symlink(secret, link)); err != nil {
		t.Fatal(err)
	}
	ln, err := ListenFile(path, 0o200)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var stop atomic.Bool
	var rounds atomic.Int64
	done := make(chan struct{})
	// Returns when stop is set.
	go func() {
		defer close(done)
		for !stop.Load() {
			_ = os.Rename(path, aside)
			_ = os.Symlink(secret, path)
			_ = os.Rename(aside, path)
			rounds.Add(1)
		}
	}()
	changed, refused := 0, 0
	for i := 0; i < 3000 || rounds.Load() < 3000; i++ {
		if err := ln.setMode([]fs.FileMode{0o222, 0o200}[i%2]); err == nil {
			changed++
		} else {
			refused++
		}
	}
	stop.Store(true)
	<-done
	t.Logf("changed %d times, refused %d times", changed, refused)
	if info, err := os.Stat(secret); err != nil {
		t.Error(err)
	} else if info.Mode() != 0o600 {
		t.Errorf("the file is %v", info.Mode())
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 2 {
		t.Errorf("left behind: %v", entries)
	}
}

// TestSocketPathTooLong: the error says so, and by how much.
func TestSocketPathTooLong(t *testing.T) {
	dir := t.TempDir()
	dir = filepath.Join(dir, strings.Repeat("d", maxSocketPath-len(dir)))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenFile(filepath.Join(dir, "s"), 0o200); err == nil || !strings.Contains(err.Error(), "shorten it by 11 bytes") {
		t.Errorf("got %v", err)
	}
	if _, err := net.Listen("unix", filepath.Join(dir, "s")); err == nil {
		t.Error("there is room for it")
	}
}
