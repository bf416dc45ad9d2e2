package sshtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// testing.go has the constructors that take a testing.TB, and what tests need
// besides.

// NewBastion starts a bastion that is closed when the test ends.
func NewBastion(t testing.TB, opts BastionOptions) *Bastion {
	t.Helper()
	b, err := ListenBastion(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// NewLink starts a relay to the "host:port" target that is closed when the
// test ends.
func NewLink(t testing.TB, target string) *Link {
	t.Helper()
	l, err := ListenLink(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// NewWeb starts a private web server that is closed when the test ends.
func NewWeb(t testing.TB, opts WebOptions) *Web {
	t.Helper()
	w, err := ListenWeb(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// NewPort is FreePort for tests.
func NewPort(t testing.TB) int {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// WriteFile writes a file that only we may read, in a new temporary directory,
// and returns its path.
func WriteFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Patience is how long a test waits, at the least, for what must come: long, for a
// machine that does much at once. It costs nothing where it comes.
const Patience = 2 * time.Minute

// Eventually waits for something to be so, and fails the test if it is not so after
// a timeout, or Patience if that is longer.
func Eventually(t testing.TB, timeout time.Duration, what string, isSo func() bool) {
	t.Helper()
	timeout = max(timeout, Patience)
	start := time.Now()
	for !isSo() {
		waited := time.Since(start)
		if waited > timeout {
			t.Fatalf("waited %v in vain: %s", timeout, what)
		}
		// To ask again costs other tests time, most of all if it is a request.
		time.Sleep(min(max(waited/20, 5*time.Millisecond), 50*time.Millisecond))
	}
}
