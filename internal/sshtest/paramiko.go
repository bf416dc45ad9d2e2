//go:build unix

package sshtest

import (
	_ "embed"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// paramiko.go runs a server made of paramiko, the SSH library for Python. Many
// bastions and gateways are made of it, and its treatment of keepalives can be
// chosen.

//go:embed paramiko_server.py
var paramikoScript string

// KeepaliveReply is how a Paramiko treats what a client may ask for to learn
// whether the server lives: the global request keepalive@openssh.com, and a channel
// of a type that no server knows.
type KeepaliveReply string

const (
	// KeepaliveFailure answers SSH_MSG_REQUEST_FAILURE, as OpenSSH does too. Here and
	// below, channels are refused at once unless there is word of them.
	KeepaliveFailure KeepaliveReply = "failure"
	// KeepaliveUnimplemented answers SSH_MSG_UNIMPLEMENTED, as servers do that
	// know no global requests.
	KeepaliveUnimplemented KeepaliveReply = "unimplemented"
	// KeepaliveIgnore answers nothing, and serves everything else.
	KeepaliveIgnore KeepaliveReply = "ignore"
	// KeepaliveIgnoreAll answers nothing to the channels, either.
	KeepaliveIgnoreAll KeepaliveReply = "ignore-all"
	// KeepaliveAccept answers SSH_MSG_REQUEST_FAILURE, but opens channels of any type.
	KeepaliveAccept KeepaliveReply = "accept"
	// KeepaliveLate answers SSH_MSG_REQUEST_FAILURE two seconds late, refuses the
	// channels as late, and serves everything else in time.
	KeepaliveLate KeepaliveReply = "late"
	// KeepaliveOnce answers the first keepalive or channel. From the second on it
	// answers nothing whatsoever, and reads nothing, but keeps the TCP connection
	// open: it is dead.
	KeepaliveOnce KeepaliveReply = "once"
)

// ParamikoOptions say what a Paramiko is like.
type ParamikoOptions struct {
	// Reply is what such questions get. Default: KeepaliveFailure.
	Reply KeepaliveReply
	// AdmitNone lets everybody in with the method "none" (RFC 4252 section 5.2).
	AdmitNone bool
}

var paramikoAccepted = regexp.MustCompile(`(?m)^Accepted publickey$`)

// Paramiko is a running server made of paramiko. It forwards to TCP targets and
// listens for remote forwards, and has no sessions. It takes any user name.
type Paramiko struct{ *daemon }

// StartParamiko starts a server made of paramiko. It is stopped when the test
// ends, and its log printed if the test has failed. Where python3 or its paramiko
// is not installed the test is skipped.
func StartParamiko(t testing.TB, opts ParamikoOptions) *Paramiko {
	t.Helper()
	python := findPython(t)
	if opts.Reply == "" {
		opts.Reply = KeepaliveFailure
	}
	d := newDaemon(t, "127.0.0.1")
	script := d.write("paramiko_server.py", []byte(paramikoScript))
	hostKey := d.write("host_key", d.HostKey.PEM(""))
	authorized := d.write("authorized_keys", []byte(d.ClientKey.AuthorizedKey()+"\n"))
	d.listening, d.accepted = "Server listening on ", paramikoAccepted
	d.command = func() *exec.Cmd {
		return exec.Command(python, "-I", "-W", "ignore", script, strconv.Itoa(d.Port), hostKey, authorized, string(opts.Reply), strconv.FormatBool(opts.AdmitNone))
	}
	d.run()
	return &Paramiko{d}
}

// Dead reports whether one of its connections has died; see KeepaliveOnce.
func (p *Paramiko) Dead() bool { return strings.Contains(p.Log(), "answering nothing from now on\n") }

// Keepalives returns how many keepalives have come in, over restarts.
func (p *Paramiko) Keepalives() int { return strings.Count(p.Log(), "received keepalive\n") }

// pythonWithParamiko is the path of a python3 that has paramiko, or "". The first
// in a user's PATH need not be the one that the system has packages for.
var pythonWithParamiko = sync.OnceValue(func() string {
	for _, candidate := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(candidate)
		if err == nil && exec.Command(path, "-I", "-W", "ignore", "-c", "import paramiko").Run() == nil {
			return path
		}
	}
	return ""
})

// findPython returns that path, or skips the test.
func findPython(t testing.TB) string {
	t.Helper()
	Needs(t, "python3 with paramiko")
	python := pythonWithParamiko()
	if python == "" {
		Missing(t, "python3 with paramiko is not installed")
	}
	return python
}
