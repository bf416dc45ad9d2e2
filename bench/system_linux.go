package main

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes makes the kernel end a child when we end without cleaning up,
// and keeps a terminal's Ctrl-C from it: we end our children ourselves.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adoptOrphans makes processes ours whose parent has ended and that we have
// started through it: what they have used is then not taken for that of others.
func adoptOrphans() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// reap waits for an orphan that has ended. It does nothing for a process that
// is not ours, or still runs.
func reap(pid int) {
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
}

// raiseFileLimit lets us, and the children that inherit it, open that many
// files.
func raiseFileLimit(files uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	if limit.Cur < files {
		limit.Cur = files
		limit.Max = max(limit.Max, files) // which only root may raise
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raising the limit of open files to %d: %w; raise the hard limit (ulimit -Hn), or try -streams 100", files, err)
	}
	return nil
}

// narrow makes the connections that a listener accepts look to their peers
// like those of a network: packets of 1,500 bytes, and a small window. A
// loopback's packets of 64 KiB would have a sender's kernel buffer megabytes.
func narrow(l *net.TCPListener, window int) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1448)
		if failed == nil {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, window)
		}
	})
	if err == nil {
		err = failed
	}
	return err
}
