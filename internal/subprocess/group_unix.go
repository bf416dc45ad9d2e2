//go:build unix

package subprocess

import (
	"os/exec"
	"syscall"
)

// Supported reports whether commands can be run on this system.
const Supported = true

// ownGroup makes a command start a process group, which is what it is ended by.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// endGroup asks a command's group to end, killGroup ends it. A group without
// processes is an error, and no matter.
func endGroup(pid int) error { return syscall.Kill(-pid, syscall.SIGTERM) }
func killGroup(pid int)      { _ = syscall.Kill(-pid, syscall.SIGKILL) }
