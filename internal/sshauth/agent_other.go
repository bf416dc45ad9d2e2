//go:build !windows

package sshauth

import (
	"context"
	"net"
)

// defaultAgent returns "": there is no agent but the one that is named.
func defaultAgent() string { return "" }

// isPipe is false: named pipes are Windows'.
func isPipe(string) bool { return false }

// dialAgent connects to an agent's socket.
func dialAgent(ctx context.Context, path string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", path)
}
