//go:build linux

package e2e

import (
	"syscall"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// matrix_settings_test.go is what those can do who look after a bastion, and
// what else works, but not for us. sshd reads its settings as a connection
// begins.

var settingFaults = []*fault{
	{name: "AllowTcpForwarding no, link cut, then yes", down: true, holds: 5 * time.Second, back: lateBack, start: prohibited},
	{name: "RekeyLimit 16K, link cut", start: configured("RekeyLimit 16K\n")},
	{name: "LoginGraceTime 1s and logins that take 2s, link cut", down: true, back: lateBack, start: configured("LoginGraceTime 1\nAuthorizedKeysCommand /bin/sleep 2\nAuthorizedKeysCommandUser root\n")},
	{name: "agent hangs, link cut", down: true, back: lateBack, start: thenCut(func(r *rig) func() { return r.agent.hang() })},
	{name: "bytes delayed by 2s", start: onLink(
		func(l *sshtest.Link) { l.SetDelay(2 * time.Second) }, func(l *sshtest.Link) { l.SetDelay(0) })},
	{name: "second bastion killed and started", only: "proxy_jump", down: true, start: func(r *rig) func() {
		r.inner.Stop()
		return r.inner.Restart
	}},
	{name: "second bastion stopped and continued", only: "proxy_jump", down: true, start: func(r *rig) func() {
		r.inner.Pause()
		return r.inner.Continue
	}},
	{name: "Caddy gets a tenth of the time", harmless: true, holds: 5 * time.Second, start: starve},
}

// starve stops Caddy for nine tenths of the time.
func starve(r *rig) func() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	process := r.cmd.Process // another one after a stop
	go func() {              // until it is undone
		defer close(stopped)
		for running := true; running; {
			_ = process.Signal(syscall.SIGSTOP)
			time.Sleep(90 * time.Millisecond)
			_ = process.Signal(syscall.SIGCONT)
			select {
			case <-stop:
				running = false
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

// prohibited forbids forwarding. What sshd permits again needs new connections.
func prohibited(r *rig) func() {
	undo := configured("AllowTcpForwarding no\n")(r)
	return func() {
		undo()
		for _, tunnel := range []string{"prod", "outer"} { // fails where there is none, or Caddy is being stopped
			r.ssh("reconnect", tunnel)
		}
	}
}

// configured has sshd go by other settings. The connections that began with them
// stay when it is undone.
func configured(lines string) func(*rig) func() {
	return thenCut(func(r *rig) func() {
		r.b.Reconfigure(lines)
		return func() { r.b.Reconfigure("") }
	})
}
