package sshauth

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/Microsoft/go-winio"
)

// pipes is where Windows has its named pipes.
const pipes = `\\.\pipe\`

// defaultAgent returns the pipe of the agent that comes with Windows, or "" if
// that is not running.
func defaultAgent() string {
	const pipe = pipes + "openssh-ssh-agent"
	if _, err := os.Stat(pipe); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return pipe
}

// isPipe tells a named pipe from the path of a socket.
func isPipe(path string) bool {
	return strings.HasPrefix(strings.ToLower(strings.ReplaceAll(path, "/", `\`)), pipes)
}

// dialAgent connects to an agent's named pipe or socket.
func dialAgent(ctx context.Context, path string) (net.Conn, error) {
	if isPipe(path) {
		return winio.DialPipeContext(ctx, path)
	}
	return new(net.Dialer).DialContext(ctx, "unix", path)
}
