package sshtest

import "syscall"

// dieWithParent has the kernel end a server when the test binary ends without
// cleaning up, as it does at go test's timeout.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
