//go:build linux

package e2e

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// matrix_processes_test.go is what breaks by halves: one process and not the
// others, one direction and not the other, a configuration that begins to start.

var halfFaults = []*fault{
	{name: "sshd's sessions stopped, its listener not", start: func(r *rig) func() {
		return stopped(r.b.Sessions())
	}},
	{name: "sshd's listener stopped, link cut", down: true, start: thenCut(func(r *rig) func() {
		return stopped([]int{r.b.Pid()})
	})},
	{name: "sshd short of memory, link cut", start: thenCut(func(r *rig) func() {
		undo := limitMemory(12<<20, r.b.Pid()) // sessions inherit it
		return func() {
			undo()
			r.b.KillSessions(syscall.SIGKILL)
		}
	})},
	{name: "bastion unplugged", down: true, severs: fromThere, start: func(r *rig) func() {
		r.b.netns.Unplug()
		return r.b.netns.Plug
	}},
	{name: "bytes three by three", harmless: true, start: onLink(
		func(l *sshtest.Link) { l.SetSegment(3) }, func(l *sshtest.Link) { l.SetSegment(0) })},
	{name: "target ends what it sends", byTarget: true, without: fromThere, start: onTargets((*target).closeWrite, func(*target) {})},
	{name: "target accepts nobody", holds: 6 * time.Second, without: fromThere, start: onTargets((*target).fill, (*target).drain)},
	// The configuration that failed may have accepted connections, which Caddy drops.
	{name: "failing caddy reload", harmless: true, start: func(r *rig) func() {
		if err := r.load(r.config() + r.site(r.taken(), "respond never\n")); err == nil {
			r.t.Error("a port that is taken is no error")
		}
		return func() {}
	}},
	{name: "sshd's listener ended and started, its sessions not", harmless: true, start: func(r *rig) func() {
		pid := r.b.Pid()
		r.must(syscall.Kill(pid, syscall.SIGTERM))
		until(patience, func() bool { return syscall.Kill(pid, 0) != nil })
		r.b.Restart() // finds no sessions to end: they are nobody's now
		return func() {}
	}},
	{name: "Caddy killed, then started", stops: true, down: true, start: func(r *rig) func() {
		r.must(r.cmd.Process.Kill())
		<-r.exited
		return func() { r.start(r.config()) }
	}},
}

// stopped stops processes, and returns what has them go on.
func stopped(pids []int) (undo func()) {
	signal := func(sig syscall.Signal) {
		for _, pid := range pids {
			_ = syscall.Kill(pid, sig) // it may have ended
		}
	}
	signal(syscall.SIGSTOP)
	return func() { signal(syscall.SIGCONT) }
}

// limitMemory has a process and those that it forks get no more than so much.
func limitMemory(n uint64, pid int) (undo func()) {
	var was unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, nil, &was); err != nil {
		return func() {}
	}
	_ = unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: n, Max: was.Max}, nil)
	return func() { _ = unix.Prlimit(pid, unix.RLIMIT_AS, &was, nil) }
}

// taken returns a port that somebody listens on until the test ends.
func (r *rig) taken() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	r.t.Cleanup(func() { _ = l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// closeWrite ends what it sends on the connections that there are.
func (t *target) closeWrite() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		_ = c.CloseWrite()
	}
}

// fill has it accept nobody, and as many wait for it as may: who comes now gets
// no answer at all. drain undoes that.
func (t *target) fill() {
	t.mu.Lock()
	t.accepts = make(chan struct{})
	l := t.l.(*net.TCPListener)
	t.mu.Unlock()
	t.backlog(l, 0)
	// One is with Accept, one waits, and the others' first packets are dropped.
	for range 4 {
		t.waiting = append(t.waiting, t.r.b.netns.Dial("tcp", t.address, 200*time.Millisecond))
	}
}

func (t *target) drain() {
	t.mu.Lock()
	l := t.l.(*net.TCPListener)
	t.mu.Unlock()
	t.backlog(l, 1024)
	close(t.accepts)
	for _, conn := range t.waiting {
		if conn != nil {
			_ = conn.Close()
		}
	}
	t.waiting = nil
}

// backlog has so many wait to be accepted, and one more.
func (t *target) backlog(l *net.TCPListener, n int) {
	raw, err := l.SyscallConn()
	t.r.must(err)
	t.r.must(raw.Control(func(fd uintptr) { t.r.must(unix.Listen(int(fd), n)) }))
}
