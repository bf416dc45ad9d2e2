package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// process.go starts programs, and ends them.

// killWait is how long what sshd has forked may take to end by itself once its
// connection is gone.
const killWait = 5 * time.Second

// process is a program that we have started.
type process struct {
	*sshtest.Process
	name string
}

// command is exec.Command for the programs of the benchmark.
func command(path string, args ...string) *exec.Cmd {
	return exec.Command(path, args...) //nolint:gosec // G204: which programs, the user of the benchmark says
}

// startProcess starts a program with its output in logFile.
func startProcess(name string, cmd *exec.Cmd, logFile string) (*process, error) {
	cmd.SysProcAttr = childAttributes()
	p, err := sshtest.StartProcess(cmd, logFile)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return &process{p, name}, nil
}

// pid is the process's id.
func (p *process) pid() int { return p.Process.Process.Pid }

// stop ends the process, and returns when it has ended. What it has forked
// gets killWait to end by itself. It is idempotent, and may be called on nil.
func (p *process) stop() {
	if p == nil || !p.Running() { // its id may be another's by now, with children of its own
		return
	}
	all := descendants(p.pid())
	children := slices.Clone(all)
	p.Kill()
	for deadline := time.Now().Add(killWait); len(children) > 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		children = stillRunning(children)
	}
	for _, child := range children {
		if process, err := os.FindProcess(child.pid); err == nil {
			_ = process.Kill()
		}
	}
	for _, child := range all {
		reap(child.pid)
	}
}

// failed is the error for a process that is not as it should be, with the end
// of what it has written.
func (p *process) failed(what string) error {
	lines := bytes.Split(bytes.TrimSpace(p.Log()), []byte("\n"))
	lines = lines[max(0, len(lines)-10):]
	return fmt.Errorf("%s %s; the end of its log:\n%s", p.name, what, bytes.Join(lines, []byte("\n")))
}

// waitForLog waits until the process has written a text.
func (p *process) waitForLog(text string, patience time.Duration) error {
	if err := p.WaitForLog(text, 0, patience); err != nil {
		return p.failed(err.Error())
	}
	return nil
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
