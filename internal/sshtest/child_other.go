//go:build !linux

package sshtest

import "syscall"

// dieWithParent is for Linux only.
func dieWithParent(*syscall.SysProcAttr) {}
