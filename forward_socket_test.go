//go:build unix

package sshtunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// othersDir returns a directory that another user owns, if this one may give it
// away: only root can.
func othersDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Dir(socketPath(t))
	if nobody, err := user.Lookup("nobody"); err == nil && os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(nobody.Uid)
		if err := os.Chown(dir, uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestForwardSocketReplaced: who can write to the directory of a socket puts
// something else in its place. Nothing of that has its permissions changed, and
// the next reload says what is there.
func TestForwardSocketReplaced(t *testing.T) {
	target := namedEcho(t, "one")
	b, tunnel := newTunnel(t, "prod", hosts{"one.internal:80": target.Addr().String()})
	dir := othersDir(t)
	sock, secret, private := filepath.Join(dir, "sock"), filepath.Join(t.TempDir(), "secret"), filepath.Join(dir, "private")
	config := func(forwards string) []byte { return forwardConfig(t, tunnel(b.Addr()), forwards) }
	forwards := func(mode string) string {
		return fmt.Sprintf("local_forward unix/%s one.internal:80\nlocal_forward unix/%s|%s one.internal:80\n", private, sock, mode)
	}
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	perm := func(path string) fs.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	for name, replace := range map[string]func() error{
		"a link to a file":       func() error { return os.Symlink(secret, sock) },
		"a link to a socket":     func() error { return os.Symlink(private, sock) },
		"another of our sockets": func() error { return os.Rename(private, sock) },
		"a file":                 func() error { return os.Link(secret, sock) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, config(forwards("0666")))
			if got := perm(sock); got != 0o666 {
				t.Fatalf("the socket has mode %o", got)
			}
			before, err := os.Lstat(private)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Remove(sock), replace()); err != nil {
				t.Skip(err) // another file system
			}
			for _, mode := range []string{"0666", "0777"} {
				err := caddy.Load(config(forwards(mode)), true)
				if err == nil || !strings.Contains(err.Error(), "unix/"+sock) {
					t.Errorf("with mode %s: got error %v", mode, err)
				}
			}
			// The forwards go, and what is not theirs stays.
			if err := caddy.Load(config(""), true); err != nil {
				t.Fatal(err)
			}
			if got := perm(secret); got != 0o600 {
				t.Errorf("the file has mode %o", got)
			}
			if after, err := os.Lstat(sock); err != nil {
				t.Errorf("what was put there is gone: %v", err)
			} else if os.SameFile(before, after) && after.Mode().Perm() != defaultSocketMode {
				t.Errorf("the other socket has mode %v", after.Mode())
			}
			_ = os.Remove(sock)
			if entries, _ := os.ReadDir(dir); len(entries) > 0 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}

// TestListenSocketMode: whoever sees the file of a socket sees it with its mode.
func TestListenSocketMode(t *testing.T) {
	const mode = 0o222
	path := filepath.Join(othersDir(t), "sock")
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
		ln, err := listenSocket(path, mode)
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
	}
	ln, err := listenSocket(path, mode)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	stop.Store(true)
	t.Logf("seen %d times", <-seen)
	if _, err := listenSocket(path, mode); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("listening twice: %v", err)
	}
}

// TestSetModeRaces changes the mode of a socket whose file is replaced by a link
// all the time. What the link leads to keeps its mode.
func TestSetModeRaces(t *testing.T) {
	dir := othersDir(t)
	path, aside, link := filepath.Join(dir, "sock"), filepath.Join(dir, "aside"), filepath.Join(dir, "link")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(secret, nil, 0o600), os.Symlink(secret, link)); err != nil {
		t.Fatal(err)
	}
	ln, err := listenSocket(path, 0o200)
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
	if _, err := listenSocket(filepath.Join(dir, "s"), 0o200); err == nil || !strings.Contains(err.Error(), "shorten it by 11 bytes") {
		t.Errorf("got %v", err)
	}
	if _, err := net.Listen("unix", filepath.Join(dir, "s")); err == nil {
		t.Error("there is room for it")
	}
}
