//go:build unix

package sshtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// daemon.go runs a real SSH server: its process, the processes that it forks
// for connections, and its log.

// daemon is a server process, and what SSHD and Dropbear have in common.
type daemon struct {
	// Dir holds the server's files and our own.
	Dir string
	// Host and Port are where it listens.
	Host string
	Port int
	// User is who may log in: us.
	User string
	// ClientKey is the key that may log in.
	ClientKey *Key
	// HostKey is the server's key.
	HostKey *Key

	t         testing.TB
	command   func() *exec.Cmd // the server in the foreground, its log on stderr
	listening string           // what it logs once it listens, and...
	accepted  *regexp.Regexp   // ...for each login
	process   *Process         // nil while stopped
	paused    bool             // by Pause
}

// newDaemon prepares the files that all servers need.
func newDaemon(t testing.TB, host string) *daemon {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatalf("looking up our user: %v", err)
	}
	d := &daemon{Dir: t.TempDir(), Host: host, User: me.Username, ClientKey: NewKey(), HostKey: NewKey(), t: t}
	d.write("client_key", d.ClientKey.PEM(""))
	d.write("client_key.pub", []byte(d.ClientKey.AuthorizedKey()+"\n"))
	return d
}

// write makes a file in Dir, and returns its path. Whoever reads it meanwhile gets
// all of the file before, or all of this.
func (d *daemon) write(name string, content []byte) string {
	d.t.Helper()
	path := filepath.Join(d.Dir, name)
	part, err := os.CreateTemp(d.Dir, "part")
	if err == nil {
		_, err = part.Write(content)
		err = errors.Join(err, part.Close(), os.Rename(part.Name(), path))
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return path
}

// Addr returns the "host:port" that the server listens on.
func (d *daemon) Addr() string { return net.JoinHostPort(d.Host, strconv.Itoa(d.Port)) }

// ClientKeyFile returns the path of the private key that may log in. The
// public key is beside it, with ".pub".
func (d *daemon) ClientKeyFile() string { return filepath.Join(d.Dir, "client_key") }

// HostKeyLine returns the line of a known_hosts file for the server.
func (d *daemon) HostKeyLine() string { return KnownHostsLine(d.Addr(), d.HostKey.PublicKey()) }

// KnownHostsFile returns the path of a file with that line.
func (d *daemon) KnownHostsFile() string {
	d.t.Helper()
	return d.write("known_hosts", []byte(d.HostKeyLine()+"\n"))
}

// Log returns what the server has logged since the test began, over restarts.
func (d *daemon) Log() string {
	log, err := os.ReadFile(d.logFile())
	if err != nil {
		return ""
	}
	return string(log)
}

func (d *daemon) logFile() string { return filepath.Join(d.Dir, "log") }

// Logins returns how many logins were accepted, over restarts.
func (d *daemon) Logins() int { return len(d.accepted.FindAllString(d.Log(), -1)) }

// run starts the server for the first time, on a free port, and has it stopped
// and, if the test has failed, its log printed in the end.
func (d *daemon) run() {
	d.t.Helper()
	d.t.Cleanup(func() {
		d.Stop()
		if d.t.Failed() {
			d.t.Logf("log of the server at %s:\n%s", d.Addr(), d.Log())
		}
	})
	// Between our finding a port free and the server's taking it, another
	// process may: try again then.
	for try := 1; ; try++ {
		d.Port = NewPort(d.t)
		err := d.start()
		if err == nil {
			return
		}
		if try == 3 {
			d.t.Fatalf("starting the server at %s: %v\n%s", d.Addr(), err, d.Log())
		}
		d.Stop()
	}
}

// start starts the process and waits until it listens.
func (d *daemon) start() error {
	before := len(d.Log())
	process, err := StartProcess(d.command(), d.logFile())
	if err != nil {
		return err
	}
	d.process = process
	if err := process.WaitForLog(d.listening, before, daemonStart); err != nil {
		return fmt.Errorf("it %w", err)
	}
	return nil
}

// Stop ends the server and its sessions with SIGKILL, as a crash of the
// machine's userland would: the kernel closes their sockets. It is idempotent.
func (d *daemon) Stop() {
	if d.process == nil {
		return
	}
	sessions := d.freeze()
	d.process.Kill()
	d.process, d.paused = nil, false
	d.kill(sessions, syscall.SIGKILL)
	d.waitGone(sessions)
}

// Restart stops the server, if it runs, and starts it on the same port.
func (d *daemon) Restart() {
	d.t.Helper()
	d.Stop()
	if err := d.start(); err != nil {
		d.t.Fatalf("restarting the server at %s: %v\n%s", d.Addr(), err, d.Log())
	}
}

// KillSessions sends a signal to the processes that serve connections, not to
// the one that listens. If the signal is SIGKILL, SIGTERM or SIGHUP, it waits
// until they have ended.
func (d *daemon) KillSessions(sig syscall.Signal) {
	d.t.Helper()
	sessions := d.freeze()
	d.kill(sessions, sig)
	if !d.paused {
		d.thaw()
	}
	if slices.Contains([]syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP}, sig) {
		d.kill(sessions, syscall.SIGCONT) // a stopped process does not take the signal
		d.waitGone(sessions)
	}
}

// Pause stops the server and its sessions with SIGSTOP: the kernel goes on
// acknowledging bytes and accepting connections, but nobody answers.
func (d *daemon) Pause() {
	d.t.Helper()
	d.freeze()
	d.paused = true
}

// Continue undoes Pause.
func (d *daemon) Continue() {
	d.paused = false
	d.thaw()
}

// freeze stops the server and its sessions, which fork, until all are stopped,
// and returns the sessions.
func (d *daemon) freeze() []int {
	d.t.Helper()
	if d.process == nil {
		return nil
	}
	_ = d.process.Process.Signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(daemonStart); ; time.Sleep(daemonPoll) {
		var sessions []int
		stopped := !running(d.process.Process.Pid) // before we look for what it forked
		for _, p := range descendants(d.process.Process.Pid) {
			sessions = append(sessions, p.pid)
			if !p.stopped {
				stopped = false
				d.kill([]int{p.pid}, syscall.SIGSTOP)
			}
		}
		if stopped {
			return sessions
		}
		if time.Now().After(deadline) {
			d.t.Errorf("sessions %v of the server at %s did not stop within %v", sessions, d.Addr(), daemonStart)
			return sessions
		}
	}
}

// thaw lets the server and its sessions go on.
func (d *daemon) thaw() {
	if d.process != nil {
		d.kill(append(d.Sessions(), d.process.Process.Pid), syscall.SIGCONT)
	}
}

// Pid returns the id of the process that listens.
func (d *daemon) Pid() int { return d.process.Process.Pid }

// Sessions returns the ids of the processes that serve connections.
func (d *daemon) Sessions() []int {
	if d.process == nil {
		return nil
	}
	var pids []int
	for _, p := range descendants(d.process.Process.Pid) {
		pids = append(pids, p.pid)
	}
	return pids
}

func (d *daemon) kill(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig) // it may have ended
	}
}

// waitGone waits until the processes have ended, or only wait for the one that
// forked them to notice.
func (d *daemon) waitGone(pids []int) {
	for deadline := time.Now().Add(daemonStart); slices.ContainsFunc(pids, alive); time.Sleep(daemonPoll) {
		if time.Now().After(deadline) {
			d.t.Errorf("sessions %v of the server at %s did not end within %v", pids, d.Addr(), daemonStart)
			return
		}
	}
}
