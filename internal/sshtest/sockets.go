package sshtest

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
)

// sockets.go has paths for sockets of tests.

// SocketPath returns a path for a socket, whose length is bounded.
func SocketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fwd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "sock")
}

// OthersDir returns a directory that another user owns, if this one may give it
// away: only root can.
func OthersDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Dir(SocketPath(t))
	if nobody, err := user.Lookup("nobody"); err == nil && os.Geteuid() == 0 {
		uid, _ := strconv.Atoi(nobody.Uid)
		if err := os.Chown(dir, uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
