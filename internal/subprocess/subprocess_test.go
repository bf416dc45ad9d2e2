//go:build unix

package subprocess

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// command returns what makes a shell execute a script.
func command(script string) *Command {
	return &Command{Option: "test", Args: []string{"/bin/sh", "-c", script}}
}

// TestForbidden: unless the environment allows it, nothing runs.
func TestForbidden(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	c := command("touch " + mark)
	for _, value := range []string{"", "0", "true", "yes", " 1"} {
		t.Setenv(Allow, value)
		t.Setenv(AllowOld, value)
		_, startErr := c.Start()
		_, outputErr := c.Output(t.Context(), 10)
		for _, err := range []error{startErr, outputErr, c.Run(t.Context())} {
			if !errors.Is(err, ErrForbidden) || Allowed() {
				t.Errorf("%q: got %v", value, err)
			}
		}
	}
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("it ran")
	}
	for _, name := range []string{Allow, AllowOld} {
		t.Setenv(Allow, "")
		t.Setenv(AllowOld, "")
		t.Setenv(name, "1")
		if err := c.Run(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOutput(t *testing.T) {
	t.Setenv(Allow, "1")
	core, logs := observer.New(zapcore.DebugLevel)
	for _, test := range []struct{ script, output, err string }{
		{"echo a; echo b; cat", "a\nb\n", ""},
		{"echo a; exit 3", "", `test "/bin/sh" has ended (exit status 3)`},
		{"echo one >&2; echo two >&2; exit 1", "", `test "/bin/sh" has ended (exit status 1, "two")`},
		{"kill -9 $$", "", `test "/bin/sh" has ended (signal: killed)`},
		{"echo 12345678901", "", `test "/bin/sh" wrote more than 10 bytes`},
		{"yes", "", `test "/bin/sh" wrote more than 10 bytes`},
		{"echo a; sleep 1000 & exit 0", "a\n", ""},            // which keeps its output open
		{"echo a; setsid sleep 20 & echo b", "", "unordered"}, // in another group
		{"", "", ""},
	} {
		c := command(test.script)
		c.Log = zap.New(core)
		output, err := c.Output(t.Context(), 10)
		if test.err == "unordered" {
			lines := strings.Fields(string(output))
			slices.Sort(lines)
			test.err, test.output, output = "", "a b", []byte(strings.Join(lines, " "))
		}
		if test.err == "" && (err != nil || string(output) != test.output) || test.err != "" && (err == nil || err.Error() != test.err) {
			t.Errorf("%q: got %q, %v", test.script, output, err)
		}
		if status, exited := Status(err); strings.Contains(test.err, "exit status") != exited || exited && status == 0 {
			t.Errorf("%q: got status %d, %t", test.script, status, exited)
		}
	}
	if n := logs.FilterMessage("command says").FilterField(zap.String("option", "test")).FilterField(zap.String("line", "one")).Len(); n != 1 {
		t.Errorf("logged are %v", logs.All())
	}
	if _, err := (&Command{Option: "test", Args: []string{"/nonexistent"}}).Output(t.Context(), 1); err == nil || !strings.HasPrefix(err.Error(), "test: ") {
		t.Errorf("got %v", err)
	}
}

// TestEndsWithAll: when its time is over a command ends, with all that it has started,
// however hard it is to end.
func TestEndsWithAll(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	t.Setenv(Allow, "1")
	var tests sync.WaitGroup
	for name, run := range map[string]func(context.Context, *Command) error{
		"run":    func(ctx context.Context, c *Command) error { return c.Run(ctx) },
		"output": func(ctx context.Context, c *Command) error { _, err := c.Output(ctx, 100); return err },
	} {
		pids := filepath.Join(t.TempDir(), "pids")
		errLate := errors.New("late")
		ctx, cancel := context.WithCancelCause(t.Context())
		tests.Go(func() {
			sshtest.Eventually(t, sshtest.Patience, "its start", func() bool { content, _ := os.ReadFile(pids); return strings.HasSuffix(string(content), "\n") })
			cancel(errLate)
		})
		tests.Go(func() {
			err := run(ctx, command(fmt.Sprintf("trap '' TERM; sleep 1000 & echo $$ $! > %s.new; mv %s.new %s; wait; sleep 1000", pids, pids, pids)))
			if !errors.Is(err, errLate) || !strings.Contains(err.Error(), `test "/bin/sh" did not end in time (late)`) {
				t.Errorf("%s: got %v", name, err)
			}
			content, _ := os.ReadFile(pids)
			for field := range strings.FieldsSeq(string(content)) {
				pid, _ := strconv.Atoi(field)
				sshtest.Eventually(t, 10*time.Second, "the end of process "+field, func() bool { return syscall.Kill(pid, 0) != nil })
			}
		})
	}
	tests.Wait()
}

func TestShell(t *testing.T) {
	t.Setenv("SHELL", "/bin/other")
	if got := Shell("a b"); !slices.Equal(got, []string{"/bin/other", "-c", "a b"}) {
		t.Errorf("got %q", got)
	}
	t.Setenv("SHELL", "")
	if got := Shell("a b"); got[0] != "/bin/sh" {
		t.Errorf("got %q", got)
	}
	for command, want := range map[string]string{"nc %h": "nc", " exec  nc -F": "nc", "exec": "exec", "": "", "a": "a", "KEY=hunter2 nc": "/bin/sh", "exec KEY='a hunter2' nc": "/bin/sh"} {
		if got := Program(command); got != want {
			t.Errorf("%q: got %q", command, got)
		}
	}
}

// TestEndForGood: when this process exits no command is left, however hard it is to end, and
// none is started.
func TestEndForGood(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	t.Setenv(Allow, "1")
	defer func() { all.ended = false }()
	pids := filepath.Join(t.TempDir(), "pids")
	failed := make(chan error, 1)
	go func() {
		failed <- command(fmt.Sprintf("trap '' TERM; sleep 1000 & echo $$ $! > %s.new; mv %s.new %s; wait; sleep 1000", pids, pids, pids)).Run(t.Context())
	}()
	sshtest.Eventually(t, sshtest.Patience, "its start", func() bool { _, err := os.Stat(pids); return err == nil })
	EndForGood()
	content, _ := os.ReadFile(pids)
	for field := range strings.FieldsSeq(string(content)) {
		pid, _ := strconv.Atoi(field)
		sshtest.Eventually(t, 10*time.Second, "the end of process "+field, func() bool { return syscall.Kill(pid, 0) != nil })
	}
	if err := <-failed; err == nil {
		t.Error("it has not failed")
	}
	if err := command("true").Run(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("one more: got %v", err)
	}
	if len(all.running) > 0 {
		t.Errorf("%d are running", len(all.running))
	}
}
