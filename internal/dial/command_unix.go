//go:build unix

package dial

import (
	"net"
	"os"
	"os/exec"
	"syscall"
)

// CommandsSupported reports whether this system can run a proxy_command.
const CommandsSupported = true

// commandSockets returns the ends of a connection, ours and the command's.
func commandSockets() (ours net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // no other command may inherit them
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "proxy_command")
	file := os.NewFile(uintptr(fds[0]), "proxy_command")
	defer func() { _ = file.Close() }() // FileConn takes a copy
	if ours, err = net.FileConn(file); err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// ownGroup has a command start a process group, which is what it is ended by.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// endGroup asks a command's group to end, killGroup ends it. A group without
// processes is an error, and no matter.
func endGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGTERM) }
func killGroup(pid int)      { _ = syscall.Kill(-pid, syscall.SIGKILL) }
