//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// forward_sshconfig_test.go tests commands that go where ~/.ssh/config says.

// fleet returns a home whose ~/.ssh/config has the Host prod-bastion behind the
// Host edge, and these lines in the block of prod-bastion.
func fleet(t *testing.T, lines ...string) (home string, edge, inner *sshtest.SSHD) {
	t.Helper()
	edge, inner = sshtest.StartSSHD(t, sshtest.SSHDOptions{}), sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	home = newHome(t, edge.HostKeyLine(), sshtest.KnownHostsLine("inner", inner.HostKey.PublicKey()))
	writeHome(t, home, ".ssh/config", fmt.Sprintf(`
Host prod-bastion
	HostName %s
	Port %d
	User %s
	HostKeyAlias inner
	IdentityFile %s
	ProxyJump edge
	%s
Host edge
	HostName %s
	Port %d
	User %s
	IdentityFile %s
`, inner.Host, inner.Port, inner.User, inner.ClientKeyFile(), strings.Join(lines, "\n\t"), edge.Host, edge.Port, edge.User, edge.ClientKeyFile()))
	return home, edge, inner
}

func TestForwardSSHConfig(t *testing.T) {
	t.Parallel()
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	here, there, typed := sshtest.NewPort(t), sshtest.NewPort(t), sshtest.NewPort(t)
	socket := filepath.Join(t.TempDir(), "here.sock")
	stale := sshtest.WriteFile(t, "stale", nil)
	home, edge, inner := fleet(t,
		fmt.Sprintf("LocalForward %d %s", here, web.Addr()),
		fmt.Sprintf("LocalForward %s %s", socket, web.Addr()),
		fmt.Sprintf("RemoteForward 127.0.0.1:%d %s", there, web.Addr()),
		"StreamLocalBindMask 0117", "StreamLocalBindUnlink yes")
	f := forward(t, home, false, "", "prod-bastion")
	f.waitFor(local(here) + " -> edge -> prod-bastion -> " + web.Addr() + "\n")
	f.waitFor(local(there) + " on edge -> prod-bastion -> " + web.Addr() + "\n")
	says(t, "tcp", local(here))
	says(t, "tcp", local(there))
	says(t, "unix", socket)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v %v", info, err)
	}
	if edge.Logins() != 1 || inner.Logins() != 1 {
		t.Errorf("%d and %d logins", edge.Logins(), inner.Logins())
	}
	f.end(syscall.SIGINT)

	// As users of ssh and autossh type it.
	f = forward(t, home, false, "", "-M", "0", "-o", "ClearAllForwardings=yes", "-o", "ServerAliveInterval 30", "-4", "-NTL", fmt.Sprintf("%d:%s", typed, web.Addr()), "prod-bastion")
	f.waitFor("-M is ignored")
	f.waitFor(local(typed) + " -> edge -> prod-bastion -> " + web.Addr() + "\n")
	says(t, "tcp", local(typed))
	f.end(syscall.SIGINT)
	if strings.Contains(f.output(), local(here)) {
		t.Error("ClearAllForwardings does not clear those of the file")
	}

	// Another file, or none.
	forward(t, home, false, "", "-F", "none", "-i", inner.ClientKeyFile(), "-L", "1:web:80", "prod-bastion").fails("prod-bastion")
	forward(t, home, false, "", "-F", stale, "prod-bastion").fails("nothing to forward")
	writeHome(t, home, ".ssh/config", "\xef\xbb\xbfHost prod-bastion\n")
	forward(t, home, false, "", "-L", "1:web:80", "prod-bastion").fails("config:1: a byte order mark")
}

// TestForwardSSHConfigHostKeys: StrictHostKeyChecking and UserKnownHostsFile count
// as for ssh, and nobody is asked with BatchMode.
func TestForwardSSHConfigHostKeys(t *testing.T) {
	t.Parallel()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	home := newHome(t)
	known := filepath.Join(home, "known")
	args := func(options ...string) []string {
		var all []string
		for _, option := range append(options, "UserKnownHostsFile="+known, "HostKeyAlias=alias") {
			all = append(all, "-o", option)
		}
		return append(append(all, "-L", fmt.Sprintf("%d:web:80", sshtest.NewPort(t))), server(s)...)
	}
	forward(t, home, true, "", args("StrictHostKeyChecking=yes")...).fails("StrictHostKeyChecking is yes: add the key to " + known)
	forward(t, home, true, "", args("BatchMode=yes")...).fails("there is no terminal to ask on")
	f := forward(t, home, false, "", args("StrictHostKeyChecking=accept-new")...)
	f.waitFor("added the host key of " + s.Addr() + " to " + known)
	f.waitFor(" -> web:80\n")
	f.end(syscall.SIGINT)
	if got, want := read(known), "alias "+s.HostKey.AuthorizedKey()+"\n"; got != want {
		t.Errorf("known_hosts has %q, want %q", got, want)
	}
	// Another key is refused in any case.
	writeHome(t, home, "known", "alias "+sshtest.NewKey().AuthorizedKey()+"\n")
	forward(t, home, true, "", args("StrictHostKeyChecking=no")...).fails("host key mismatch")
}

func TestKeyscanSSHConfig(t *testing.T) {
	t.Parallel()
	home, edge, inner := fleet(t)
	out, err := (&caddy{t: t, home: home}).command("ssh-tunnel", "keyscan", "prod-bastion", "edge").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"inner " + inner.HostKey.AuthorizedKey() + "\n", edge.HostKeyLine() + "\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if edge.Logins() != 1 || inner.Logins() != 0 {
		t.Errorf("%d and %d logins", edge.Logins(), inner.Logins())
	}
}
