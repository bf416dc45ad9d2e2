//go:build !linux

package main

import (
	"net"
	"syscall"
)

// Elsewhere the benchmark builds, and runs as far as it can. See
// system_linux.go for what these are for.

func childAttributes() *syscall.SysProcAttr { return nil }

func adoptOrphans() error { return nil }

func reap(int) {}

func raiseFileLimit(uint64) error { return nil }

func narrow(*net.TCPListener, int) error { return nil }
