package sshtunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// commandsFile returns the path of an ssh_config whose commands all leave a line in a file
// of marks, and that leads to a server only by all of them.
func commandsFile(t *testing.T, d *sshtest.SSHD, proxy bool) (file, marks string) {
	t.Helper()
	marks = filepath.Join(t.TempDir(), "marks")
	keys := sshtest.WriteFile(t, "keys", fmt.Appendf(nil, "#!/bin/sh\necho \"keys $*\" >> %s\necho '%s'\n", marks, d.HostKeyLine()))
	if err := os.Chmod(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
Match originalhost bastion exec "echo exec %%n %%h %%r >> MARKS"
	HostName %s
	Port %d
Match !exec "echo not >> MARKS; exit 1" originalhost bastion
	User %s
Match exec false
	User nobody
Host bastion
	IdentityFile %s
	IdentitiesOnly yes
	UserKnownHostsFile none
	GlobalKnownHostsFile none
	StrictHostKeyChecking yes
	KnownHostsCommand %s %%I %%H %%t %%f %%n:%%p
`, d.Host, d.Port, d.User, d.ClientKeyFile(), keys)
	if proxy {
		config += "\tProxyCommand sh -c 'echo proxy \"$0\" \"$1\" %r %n %% >> MARKS; exec " + sshtest.Program(t, "nc") + " -F \"$0\" \"$1\"' %h %p 2>/dev/null\n\tProxyUseFdpass yes\n"
	}
	return sshtest.WriteFile(t, "config", []byte(strings.ReplaceAll(config, "MARKS", marks))), marks
}

// takeMarks returns the marks, sorted and without repetitions, and removes them.
func takeMarks(t *testing.T, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	// Older versions of ssh leave the port out here.
	plain := regexp.MustCompile(`ORDER \[(.*)\]:\d+`).ReplaceAllString(string(content), "ORDER $1")
	marks := strings.Split(strings.TrimSpace(plain), "\n")
	slices.Sort(marks)
	return slices.Compact(marks)
}

// TestSSHConfigCommands: where the environment allows it, the commands of an ssh_config do
// for a tunnel what they do for ssh.
func TestSSHConfigCommands(t *testing.T) {
	t.Setenv(subprocess.Allow, "1")
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	web := sshtest.NewWeb(t, sshtest.WebOptions{Name: "web"})
	for _, proxy := range []bool{false, true} {
		file, marks := commandsFile(t, d, proxy)
		out, err := exec.Command(sshtest.Program(t, "ssh"), "-F", file, "-o", "BatchMode=yes", "bastion", "echo hello").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "hello") {
			t.Fatalf("ssh: %v: %s", err, out)
		}
		want := takeMarks(t, marks)

		address := serve(t, "tunnel prod {\nssh_config bastion "+file+"\nconnections 1\n}\n", "", "reverse_proxy "+web.Addr()+" {\ntransport ssh_tunnel prod\n}\n")
		if a := fetch(t, http.MethodGet, "http://"+address+"/hello", ""); a.status != http.StatusOK {
			t.Fatalf("proxy %t: status %d: %s", proxy, a.status, a.body)
		}
		got := takeMarks(t, marks)
		if !slices.Equal(got, want) {
			t.Errorf("proxy %t: executed are\n%q, by ssh\n%q", proxy, got, want)
		}
	}
}

// TestSSHConfigCommandsForbidden: where the environment does not allow it, none is executed.
func TestSSHConfigCommandsForbidden(t *testing.T) {
	t.Setenv(subprocess.Allow, "")
	t.Setenv(subprocess.AllowOld, "")
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	file, marks := commandsFile(t, d, true)
	site := "reverse_proxy web:80 {\ntransport ssh_tunnel prod\n}\n"
	err := reload(freeAddress(t), "tunnel prod {\nssh_config bastion "+file+"\n}\n", "", site)
	if err == nil || !strings.Contains(err.Error(), "ProxyCommand: running commands is not allowed") {
		t.Errorf("with a ProxyCommand: %v", err)
	}
	plain, plainMarks := commandsFile(t, d, false)
	// What Match exec decides on is written in the block; the server's key is not known.
	address := serve(t, fmt.Sprintf("tunnel prod {\nssh_config bastion %s\nhost %s\nuser %s\n}\n", plain, d.Addr(), d.User), "", site)
	if a := fetch(t, http.MethodGet, "http://"+address+"/hello", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("status %d: %s", a.status, a.body)
	}
	if d.Logins() > 0 {
		t.Error("it has logged in to a server whose key only KnownHostsCommand knows")
	}
	for _, path := range []string{marks, plainMarks} {
		if content, err := os.ReadFile(path); err == nil {
			t.Errorf("executed are:\n%s", content)
		}
	}
}
