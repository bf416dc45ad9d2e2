package sshtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// needs.go says whether a test may run, given what it needs and what there is.

// Needs skips the test with -short, which leaves out all that takes more than Go
// and a moment: real servers and programs, root, networks of one's own. Whoever
// starts one of those calls it. What completes "it needs".
func Needs(t testing.TB, what string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not with -short: it needs " + what)
	}
}

// Takes skips the test with -short because it takes that long.
func Takes(t testing.TB, long time.Duration) {
	t.Helper()
	if testing.Short() {
		t.Skipf("not with -short: it takes %v", long)
	}
}

// Missing skips the test because something that it needs is not there. Where
// the environment variable CI is "true" it fails the test: nothing may go
// untested there.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, and CI is true", what)
	}
	t.Skip(what)
}

// Program returns the absolute path of a program or server that the test needs,
// which may be a server's and not in a user's PATH. Where there is none, and with
// -short, it skips the test.
func Program(t testing.TB, name string) string {
	t.Helper()
	Needs(t, name)
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		// The path must be absolute: sshd runs itself again by it.
		if path, err := exec.LookPath(candidate); err == nil && filepath.IsAbs(path) {
			return path
		}
	}
	Missing(t, name+" is not installed")
	return ""
}

// Root skips the test, which needs root for something, without it and with -short.
func Root(t testing.TB, what string) {
	t.Helper()
	Needs(t, "root")
	if os.Geteuid() != 0 {
		Missing(t, what+" needs root")
	}
}
