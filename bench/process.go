package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// process.go starts programs, and ends them.

// killWait is how long what sshd has forked may take to end by itself once its
// connection is gone.
const killWait = 5 * time.Second

// process is a program that we have started. Its output goes into a file.
type process struct {
	name    string
	cmd     *exec.Cmd
	logFile string
	exited  chan struct{} // closed when it has ended
}

// command is exec.Command for the programs of the benchmark.
func command(path string, args ...string) *exec.Cmd {
	return exec.Command(path, args...) //nolint:gosec // G204: which programs, the user of the benchmark says
}

// startProcess starts a program with its output in logFile.
func startProcess(name string, cmd *exec.Cmd, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	// A file and no pipe: with a pipe, Wait would wait for forked processes as
	// well.
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	cmd.SysProcAttr = childAttributes()
	p := &process{name: name, cmd: cmd, logFile: logFile, exited: make(chan struct{})}
	started := make(chan error)
	// One thread starts it and waits for it: the kernel takes the end of the
	// thread that forked for ours. It returns when the process has ended, which
	// stop sees to.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// pid is the process's id.
func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process, and returns when it has ended. What it has forked
// gets killWait to end by itself. It is idempotent, and may be called on nil.
func (p *process) stop() {
	if p == nil {
		return
	}
	select {
	case <-p.exited: // its id may be another's by now, with children of its own
		return
	default:
	}
	children := descendants(p.pid())
	_ = p.cmd.Process.Kill()
	<-p.exited
	for deadline := time.Now().Add(killWait); len(children) > 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		children = stillRunning(children)
	}
	for _, child := range children {
		if process, err := os.FindProcess(child.pid); err == nil {
			_ = process.Kill()
		}
	}
}

// failed is the error for a process that is not as it should be, with the end
// of what it has written.
func (p *process) failed(what string) error {
	log, _ := os.ReadFile(p.logFile)
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	lines = lines[max(0, len(lines)-10):]
	return fmt.Errorf("%s %s; the end of its log:\n%s", p.name, what, bytes.Join(lines, []byte("\n")))
}

// waitForLog waits until the process has written a text.
func (p *process) waitForLog(text string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if log, _ := os.ReadFile(p.logFile); bytes.Contains(log, []byte(text)) {
			return nil
		}
		select {
		case <-p.exited:
			return p.failed("has ended at once")
		default:
		}
	}
	return p.failed(fmt.Sprintf("did not say %q within %v", text, patience))
}

// output runs a program to its end, and returns what it has written. Programs
// that print their version with an error are fine.
func output(path string, args ...string) string {
	var out bytes.Buffer
	cmd := command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, io.Writer(&out), &out
	_ = cmd.Run()
	return out.String()
}
