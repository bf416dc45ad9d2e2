//go:build linux

package e2e

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// matrix_faults_test.go is what can break.

const (
	// holdAtLeast and holdAtMost bound how long a fault lasts: it ends once it
	// has struck whatever is under way, and whatever is new.
	holdAtLeast = time.Second
	holdAtMost  = silence + 10*time.Second

	// soonBack and lateBack are when service must be back: after a
	// reconnect_delay and a connect, or when a bastion refused us, which is asked
	// again less and less often.
	soonBack   = dialTimeout + slack
	lateBack   = 6*time.Second + soonBack
	refusedFor = 3 * time.Second
)

// fault is something that breaks.
type fault struct {
	name string
	// start breaks it and returns what fixes it.
	start func(r *rig) (undo func())
	// holds is for how long. Default: see holdAtLeast.
	holds time.Duration
	// atMost is for how long in the soak test, where a bastion that refuses us is
	// met by nobody but the tunnel: after the third time that rests for minutes.
	atMost time.Duration
	// harmless is set if nobody may notice but by waiting.
	harmless bool
	// down is set if nothing new can be served meanwhile.
	down bool
	// waits has the kinds whose clients wait until it is over, though it is down.
	waits string
	// byTarget is set if a target ends connections, which it has a right to.
	byTarget bool
	// stops is set if Caddy itself does not run until undo.
	stops bool
	// deaf is set if it accepts nothing, its admin API included, so that only a
	// signal stops it.
	deaf bool
	// back bounds the time until service is back. Default: soonBack.
	back time.Duration
	// without has the kinds that it is nothing to.
	without string
	// severs has the kinds whose clients it cuts off: there is nothing to be
	// learned from them.
	severs string
	// only is the kind that it is something to. Default: all.
	only string
}

func (f *fault) concerns(k *traffic) bool {
	return !strings.Contains(f.without+f.severs, k.name) && (f.only == "" || f.only == k.name)
}

// onLink is a fault of the link.
func onLink(start, undo func(*sshtest.Link)) func(*rig) func() {
	return func(r *rig) func() {
		start(r.link)
		return func() {
			if undo != nil {
				undo(r.link)
			}
		}
	}
}

func freeze(d sshtest.Direction) func(*rig) func() {
	return onLink(func(l *sshtest.Link) { l.Freeze(d) }, func(l *sshtest.Link) { l.Thaw(d) })
}

// onTargets is a fault of all targets.
func onTargets(start, undo func(*target)) func(*rig) func() {
	return func(r *rig) func() {
		for _, t := range r.targets {
			start(t)
		}
		return func() {
			for _, t := range r.targets {
				undo(t)
			}
		}
	}
}

// thenCut is a fault that is met at the next connect, and a reason to connect.
func thenCut(start func(*rig) func()) func(*rig) func() {
	return func(r *rig) func() {
		undo := start(r)
		r.link.Reset()
		return undo
	}
}

var faultKinds = slices.Concat([]*fault{
	{name: "sshd killed and started", down: true, start: func(r *rig) func() {
		r.b.Stop()
		return r.b.Restart
	}},
	{name: "sshd's sessions killed", start: func(r *rig) func() {
		r.b.KillSessions(syscall.SIGKILL)
		return func() {}
	}},
	{name: "sshd stopped and continued", down: true, start: pause},
	{name: "sshd stopped for 2s", harmless: true, holds: 2 * time.Second, start: pause},
	{name: "link cut (FIN)", start: onLink((*sshtest.Link).Cut, nil)},
	{name: "link cut (RST)", start: onLink((*sshtest.Link).Reset, nil)},
	{name: "link cut and refusing", down: true, start: func(r *rig) func() {
		r.link.Refuse()
		r.link.Reset()
		return r.link.Accept
	}},
	{name: "link frozen", down: true, start: freeze(sshtest.Both)},
	{name: "link frozen towards the bastion", down: true, waits: fromThere, start: freeze(sshtest.Up)},
	{name: "link frozen from the bastion", down: true, start: freeze(sshtest.Down)},
	{name: "link frozen for 2s", harmless: true, holds: 2 * time.Second, start: freeze(sshtest.Both)},
	{name: "bytes delayed by 200ms", harmless: true, start: onLink(
		func(l *sshtest.Link) { l.SetDelay(200 * time.Millisecond) }, func(l *sshtest.Link) { l.SetDelay(0) })},
	{name: "bandwidth 64 KiB/s", harmless: true, start: onLink(
		func(l *sshtest.Link) { l.SetBandwidth(64 << 10) }, func(l *sshtest.Link) { l.SetBandwidth(0) })},
	{name: "a bit flipped towards the bastion", start: onLink(func(l *sshtest.Link) { l.Corrupt(sshtest.Up) }, nil)},
	{name: "a bit flipped from the bastion", start: onLink(func(l *sshtest.Link) { l.Corrupt(sshtest.Down) }, nil)},
	{name: "link cut again and again", back: lateBack, start: cutAgain},
	{name: "bastion has another host key, then the old one", down: true, atMost: refusedFor, back: lateBack, start: otherHostKey},
	{name: "bastion has another host key, then known_hosts too", down: true, atMost: refusedFor, back: lateBack, start: newHostKey},
	{name: "target closed", byTarget: true, down: true, without: fromThere, start: onTargets((*target).close, (*target).open)},
	{name: "target never reads", byTarget: true, without: fromThere, start: onTargets((*target).stall, (*target).flow)},
	{name: "target resets", byTarget: true, down: true, without: fromThere, start: onTargets(
		func(t *target) { t.setReset(true) }, func(t *target) { t.setReset(false) })},
	{name: "known_hosts gone, link cut", down: true, back: lateBack, start: thenCut(func(r *rig) func() {
		away := r.hosts + ".away"
		r.must(os.Rename(r.hosts, away))
		return func() { r.must(os.Rename(away, r.hosts)) }
	})},
	{name: "agent gone, link cut", down: true, back: lateBack, start: thenCut(func(r *rig) func() {
		r.agent.close()
		return r.agent.open
	})},
	{name: "MaxStartups reached, link cut", down: true, start: thenCut(fillStartups)},
	{name: "MaxAuthTries reached, link cut", down: true, atMost: refusedFor, back: lateBack, start: thenCut(func(r *rig) func() {
		r.agent.setKeys(3)
		return func() { r.agent.setKeys(0) }
	})},
	{name: "sshd out of files, link cut", down: true, start: thenCut(func(r *rig) func() {
		return limitFiles(3, r.b.Pid())
	})},
	{name: "sshd's sessions short of files, link cut", start: thenCut(func(r *rig) func() {
		undo := limitFiles(20, r.b.Pid()) // sessions inherit it
		return func() {
			undo()
			r.b.KillSessions(syscall.SIGKILL)
		}
	})},
	{name: "Caddy out of files, link cut", deaf: true, holds: 3 * time.Second, back: lateBack, start: thenCut(func(r *rig) func() {
		return limitFiles(3, r.cmd.Process.Pid)
	})},
	{name: "caddy reload", harmless: true, start: func(r *rig) func() {
		r.must(r.load(r.config()))
		return func() {}
	}},
	{name: "caddy reload, another user", harmless: true, start: func(r *rig) func() {
		if r.user == users[0] {
			r.user = users[1]
		} else {
			r.user = users[0]
		}
		r.must(r.load(r.config()))
		return func() {}
	}},
	{name: "Caddy stopped for 2s (SIGSTOP)", stops: true, harmless: true, holds: 2 * time.Second, start: func(r *rig) func() {
		r.must(r.cmd.Process.Signal(syscall.SIGSTOP))
		return func() { r.must(r.cmd.Process.Signal(syscall.SIGCONT)) }
	}},
	{name: "Caddy stopped for 12s (SIGSTOP)", stops: true, holds: 12 * time.Second, start: func(r *rig) func() {
		r.must(r.cmd.Process.Signal(syscall.SIGSTOP))
		return func() { r.must(r.cmd.Process.Signal(syscall.SIGCONT)) }
	}},
	{name: "caddy stop, then start", stops: true, down: true, start: func(r *rig) func() {
		r.halt()
		return func() { r.start(r.config()) }
	}},
}, halfFaults, settingFaults)

// must fails the test, and goes on.
func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Error(err)
	}
}

// halt is caddy stop.
func (r *rig) halt() {
	r.t.Helper()
	cmd := r.command("stop")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		r.t.Error(err)
		return
	}
	late := time.AfterFunc(gracePeriod+slack, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Wait(); err != nil {
		r.t.Errorf("caddy stop: %v: %s", err, out.String())
	}
	r.stop(gracePeriod + slack)
}

// cutAgain cuts the link four times a second.
func cutAgain(r *rig) func() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // until it is undone
		defer close(stopped)
		for {
			r.link.Reset()
			select {
			case <-stop:
				return
			case <-time.After(250 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

func pause(r *rig) func() {
	r.b.Pause()
	return r.b.Continue
}

// setHostKey reboots the bastion.
func (r *rig) setHostKey(key *sshtest.Key) {
	r.b.Stop()
	r.must(os.WriteFile(filepath.Join(r.b.Dir, "host_key"), key.PEM(""), 0o600))
	r.b.Restart()
}

func otherHostKey(r *rig) func() {
	r.setHostKey(sshtest.NewKey())
	return func() { r.setHostKey(r.b.HostKey) }
}

func newHostKey(r *rig) func() {
	old, key := r.b.HostKey, sshtest.NewKey()
	r.setHostKey(key)
	return func() {
		r.b.HostKey = key
		content, err := os.ReadFile(r.hosts)
		r.must(err)
		line := func(k *sshtest.Key) string { return sshtest.KnownHostsLine(r.link.Addr(), k.PublicKey()) }
		r.must(os.WriteFile(r.hosts, []byte(strings.Replace(string(content), line(old), line(key), 1)), 0o600))
	}
}

// fillStartups has others begin to log in, and leave it at that.
func fillStartups(r *rig) func() {
	var waiting []net.Conn
	banner := func() bool {
		conn, err := net.DialTimeout("tcp", r.b.Addr(), patience)
		if err != nil {
			r.t.Error(err)
			return false
		}
		waiting = append(waiting, conn)
		_ = conn.SetDeadline(time.Now().Add(patience))
		got := make([]byte, 4)
		_, err = conn.Read(got)
		return err == nil && string(got) == "SSH-"
	}
	for range 20 {
		if !banner() {
			break
		}
	}
	return func() {
		for _, conn := range waiting {
			_ = conn.Close()
		}
	}
}
