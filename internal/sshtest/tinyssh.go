//go:build unix

package sshtest

import (
	"crypto/ed25519"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// tinyssh.go runs TinySSH, a small server for small machines. It forwards
// nothing, and knows no global requests: it answers each with
// SSH_MSG_UNIMPLEMENTED.

var tinysshAccepted = regexp.MustCompile(`(?m) auth: .* accepted `)

// inetd listens on a port, and runs a server for each connection, which is its
// standard input and output: inetd(8)'s "nowait".
const inetd = `
import os, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
print("Server listening on", sys.argv[1], file=sys.stderr, flush=True)
while True:
    connection, _ = listener.accept()
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(connection.fileno(), 0)
        os.dup2(connection.fileno(), 1)
        os.execv(sys.argv[2], sys.argv[2:])
    connection.close()
`

// TinySSH is a running TinySSH server. Whoever logs in is us.
type TinySSH struct{ *daemon }

// StartTinySSH starts tinysshd. It is stopped when the test ends, and its log
// printed if the test has failed. Where it, or python3 with paramiko, is not installed, or we are
// not root, the test is skipped.
func StartTinySSH(t testing.TB) *TinySSH {
	t.Helper()
	path, python := Program(t, "tinysshd"), findPython(t)
	d := newDaemon(t, "127.0.0.1")

	keys := filepath.Join(d.Dir, "keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	private := d.HostKey.Private().(ed25519.PrivateKey)
	d.write("keys/.ed25519.sk", private)
	d.write("keys/ed25519.pk", private.Public().(ed25519.PublicKey))

	home := authorizedHome(t, d)
	wrapper := withHome(t, home, "tinysshd")
	d.listening, d.accepted = "Server listening on ", tinysshAccepted
	d.command = func() *exec.Cmd {
		argv := append(append([]string(nil), wrapper...), python, "-I", "-c", inetd, strconv.Itoa(d.Port), path, "-v", "--", keys)
		return exec.Command(argv[0], argv[1:]...)
	}
	d.run()
	return &TinySSH{d}
}
