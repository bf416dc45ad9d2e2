//go:build !linux

package sshtest

// Isolate is for Linux only. Elsewhere FreePort keeps tests apart as well as it
// can.
func Isolate() {}
