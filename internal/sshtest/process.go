package sshtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// process.go starts programs, waits until they are ready, and ends them.

const (
	// daemonStart is how long a server may take to listen, and to end.
	daemonStart = Patience
	// daemonPoll is how often its log and its processes are looked at.
	daemonPoll = 5 * time.Millisecond
)

// Process is a program that runs beside this one and ends with it.
type Process struct {
	*exec.Cmd
	// Exited is closed when it has ended.
	Exited <-chan struct{}

	logFile string
}

// StartProcess starts a program. What it prints is added to a file: with a pipe,
// processes that it forks would keep its end from being noticed.
func StartProcess(cmd *exec.Cmd, logFile string) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	dieWithParent(cmd.SysProcAttr)
	started, exited := make(chan error), make(chan struct{})
	// One thread starts the program and waits for it: the kernel takes the end of
	// the thread that has forked for ours. It returns when the program has ended.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return &Process{Cmd: cmd, Exited: exited, logFile: logFile}, nil
}

// NewProcess starts a program that is killed when the test ends. What it has
// printed is shown if the test has failed.
func NewProcess(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := StartProcess(cmd, t.TempDir()+"/log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s printed:\n%s", cmd.Path, p.Log())
		}
	})
	return p
}

// Log returns what is in its log file.
func (p *Process) Log() []byte {
	log, _ := os.ReadFile(p.logFile)
	return log
}

// Running reports whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.Exited:
		return false
	default:
		return true
	}
}

// Kill ends it, if it runs, and waits until it has ended.
func (p *Process) Kill() {
	if p.Running() { // its id may be another's afterwards
		_ = p.Process.Kill()
		<-p.Exited
	}
}

// ErrEnded is that a program has ended that should not have.
var ErrEnded = errors.New("has ended at once")

// WaitFor waits until something is so, such as that it listens. It fails when the
// program ends or a timeout is over.
func (p *Process) WaitFor(what string, timeout time.Duration, isSo func() bool) error {
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); time.Sleep(daemonPoll) {
		if isSo() {
			return nil
		}
		if !p.Running() {
			return ErrEnded
		}
	}
	return fmt.Errorf("did not %s within %v", what, timeout)
}

// WaitForLog waits until the program has printed a text after the first bytes of
// its log.
func (p *Process) WaitForLog(text string, after int, timeout time.Duration) error {
	return p.WaitFor(fmt.Sprintf("say %q", text), timeout, func() bool {
		log := p.Log()
		return len(log) >= after && bytes.Contains(log[after:], []byte(text))
	})
}

// WaitListening waits until connections to an address are accepted, and fails the
// test if they are not.
func (p *Process) WaitListening(t testing.TB, network, address string) {
	t.Helper()
	err := p.WaitFor("listen", daemonStart, func() bool {
		conn, err := net.Dial(network, address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if err != nil {
		t.Fatalf("%s %v; it printed:\n%s", p.Path, err, p.Log())
	}
}
