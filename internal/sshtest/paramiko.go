//go:build unix

package sshtest

import (
	_ "embed"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// paramiko.go runs a server made of paramiko, the SSH library for Python. Many
// bastions and gateways are made of it, and its treatment of keepalives can be
// chosen.

//go:embed paramiko_server.py
var paramikoScript string

// KeepaliveReply is how a Paramiko treats the global requests
// keepalive@openssh.com.
type KeepaliveReply string

const (
	// KeepaliveFailure answers SSH_MSG_REQUEST_FAILURE, as OpenSSH does too.
	KeepaliveFailure KeepaliveReply = "failure"
	// KeepaliveUnimplemented answers SSH_MSG_UNIMPLEMENTED, as servers do that
	// know no global requests.
	KeepaliveUnimplemented KeepaliveReply = "unimplemented"
	// KeepaliveIgnore answers nothing, and serves everything else.
	KeepaliveIgnore KeepaliveReply = "ignore"
	// KeepaliveOnce answers SSH_MSG_REQUEST_FAILURE to the first one. From the
	// second on, or the second time that it is asked anything else that it does
	// not know, it answers nothing whatsoever, and reads nothing, but keeps the TCP
	// connection open: it is dead.
	KeepaliveOnce KeepaliveReply = "once"
	// KeepaliveLate answers SSH_MSG_REQUEST_FAILURE two seconds late, and serves
	// everything else in time.
	KeepaliveLate KeepaliveReply = "late"
)

// ParamikoOptions say what a Paramiko is like.
type ParamikoOptions struct {
	// Reply is what keepalives get. Default: KeepaliveFailure.
	Reply KeepaliveReply
}

var paramikoAccepted = regexp.MustCompile(`(?m)^Accepted publickey for `)

// Paramiko is a running server made of paramiko. It forwards to TCP targets and
// listens for remote forwards, and has no sessions. It takes any user name.
type Paramiko struct{ *daemon }

// StartParamiko starts a server made of paramiko. It is stopped when the test
// ends, and its log printed if the test has failed. Where python3 or its paramiko
// is not installed the test is skipped.
func StartParamiko(t testing.TB, opts ParamikoOptions) *Paramiko {
	t.Helper()
	python := findPython(t, "paramiko")
	if opts.Reply == "" {
		opts.Reply = KeepaliveFailure
	}
	d := newDaemon(t, "127.0.0.1")
	script := d.write("paramiko_server.py", []byte(paramikoScript))
	hostKey := d.write("host_key", d.HostKey.PEM(""))
	authorized := d.write("authorized_keys", []byte(d.ClientKey.AuthorizedKey()+"\n"))
	d.listening, d.accepted = "Server listening on ", paramikoAccepted
	d.command = func() *exec.Cmd {
		return exec.Command(python, "-I", "-W", "ignore", script, strconv.Itoa(d.Port), hostKey, authorized, string(opts.Reply))
	}
	d.run()
	return &Paramiko{d}
}

// Dead reports whether one of its connections has died; see KeepaliveOnce.
func (p *Paramiko) Dead() bool { return strings.Contains(p.Log(), "answering nothing from now on\n") }

// Keepalives returns how many keepalives have come in, over restarts.
func (p *Paramiko) Keepalives() int { return strings.Count(p.Log(), "received keepalive\n") }

// findPython returns the path of a python3 that has a module, or skips the test.
// The first in a user's PATH need not be the one that the system has packages for.
func findPython(t testing.TB, module string) string {
	t.Helper()
	for _, candidate := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(candidate)
		if err == nil && exec.Command(path, "-I", "-W", "ignore", "-c", "import "+module).Run() == nil {
			return path
		}
	}
	Missing(t, "python3 with its module "+module+" is not installed")
	return ""
}
