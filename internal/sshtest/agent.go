package sshtest

import (
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh/agent"
)

// StartAgent starts an ssh-agent that holds keys and ends with the test. It returns
// the path of its socket.
func StartAgent(t testing.TB, keys ...agent.AddedKey) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent")
	NewProcess(t, exec.Command(Program(t, "ssh-agent"), "-D", "-a", socket)).WaitListening(t, "unix", socket)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // everything was said
	client := agent.NewClient(conn)
	for _, key := range keys {
		if err := client.Add(key); err != nil {
			t.Fatal(err)
		}
	}
	return socket
}
