package sshtest

import "syscall"

// dieWithParent makes the kernel end a program when this process ends without
// cleaning up, as it does at go test's timeout.
func dieWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGKILL }
