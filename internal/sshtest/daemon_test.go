//go:build unix

package sshtest

import (
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// fatal is a test that ends with a message, and does not fail.
type fatal struct {
	testing.TB
	message string
}

func (f *fatal) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// TestDaemonDoesNotStart checks that a test fails with why there is no server.
func TestDaemonDoesNotStart(t *testing.T) {
	failed := &fatal{TB: t}
	d := newDaemon(failed, "127.0.0.1")
	d.listening, d.accepted = "listening", regexp.MustCompile("accepted")
	d.command = func() *exec.Cmd { return exec.Command(d.Dir + "/none") }
	done := make(chan struct{})
	go func() { // returns when the server has not started
		defer close(done)
		d.run()
	}()
	<-done
	if !strings.HasPrefix(failed.message, "starting the server at 127.0.0.1:") || !strings.Contains(failed.message, "/none: no such file") {
		t.Errorf("it failed with %q", failed.message)
	}
}
