//go:build unix && !linux

package sshtest

import (
	"net"
	"os/exec"
	"testing"
	"time"
)

// Netns is for Linux only. Its methods are here so that tests compile.
type Netns struct{}

// NewNetns skips the test.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	Missing(t, "a network namespace needs Linux")
	return nil
}

// Addr is for Linux only.
func (ns *Netns) Addr() string { return "" }

// HostAddr is for Linux only.
func (ns *Netns) HostAddr() string { return "" }

// Etc is for Linux only.
func (ns *Netns) Etc(string) string { return "" }

// WriteEtc is for Linux only.
func (ns *Netns) WriteEtc(string, string) {}

// SetHosts is for Linux only.
func (ns *Netns) SetHosts(...string) {}

// SetResolver is for Linux only.
func (ns *Netns) SetResolver(string) {}

// ListenPacket is for Linux only.
func (ns *Netns) ListenPacket(string, string) net.PacketConn { return nil }

// Command is for Linux only.
func (ns *Netns) Command(name string, args ...string) *exec.Cmd { return exec.Command(name, args...) }

// Listen is for Linux only.
func (ns *Netns) Listen(string, string) net.Listener { return nil }

// Dial is for Linux only.
func (ns *Netns) Dial(string, string, time.Duration) net.Conn { return nil }

// Unplug is for Linux only.
func (ns *Netns) Unplug() {}

// Plug is for Linux only.
func (ns *Netns) Plug() {}
