//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// command_test.go tests `caddy ssh-tunnel forward`.

const ctrlC = "\x03"

func TestForwardLocal(t *testing.T) {
	t.Parallel()
	s, web := sshtest.StartSSHD(t, sshtest.SSHDOptions{}), sshtest.NewWeb(t, sshtest.WebOptions{})
	home, port := newHome(t, s.HostKeyLine()), sshtest.NewPort(t)
	socket, there := filepath.Join(home, "here.sock"), filepath.Join(home, "there.sock")
	l, err := net.Listen("unix", there)
	if err != nil {
		t.Fatal(err)
	}
	sshtest.NewWeb(t, sshtest.WebOptions{Listener: l})
	second := sshtest.NewPort(t)
	f := forward(t, home, false, "", append([]string{
		fmt.Sprintf("%d:%s", port, web.Addr()),
		fmt.Sprintf("127.0.0.1:%d:%s", second, there),
		"-L", socket + ":" + web.Addr(),
	}, server(s)...)...)
	f.waitFor(local(port) + " -> 127.0.0.1 -> " + web.Addr() + "\n")
	f.waitFor(local(second) + " -> 127.0.0.1 -> " + there + "\n")
	f.waitFor(socket + " -> 127.0.0.1 -> " + web.Addr() + "\n")
	says(t, "tcp", local(port))
	says(t, "tcp", local(second))
	says(t, "unix", socket)
	f.waitFor(web.Addr() + " closed after ")
	f.waitFor(" received\n")
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v %v", info, err)
	}

	// One that is open does not keep it from ending.
	conn, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	f.waitFor(conn.LocalAddr().String() + " -> 127.0.0.1 -> " + web.Addr() + "\n")
	f.end(syscall.SIGINT)
	if !strings.Contains(f.output(), conn.LocalAddr().String()+" -> 127.0.0.1 -> "+web.Addr()+" closed after ") {
		t.Error("it does not say that the last connection is closed")
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the socket is still there")
	}
	for _, dir := range []string{"config", "data"} {
		if _, err := os.Stat(filepath.Join(home, dir)); err == nil {
			t.Errorf("it has written to Caddy's directory %s", dir)
		}
	}
}

func TestForwardRemote(t *testing.T) {
	t.Parallel()
	s, web := sshtest.StartSSHD(t, sshtest.SSHDOptions{}), sshtest.NewWeb(t, sshtest.WebOptions{})
	home, port := newHome(t, s.HostKeyLine()), sshtest.NewPort(t)
	spec := fmt.Sprintf("127.0.0.1:%d:%s", port, web.Addr())
	f := forward(t, home, false, "", append([]string{"-R", spec}, server(s)...)...)
	f.waitFor(local(port) + " on 127.0.0.1 -> " + web.Addr() + "\n")
	says(t, "tcp", local(port))
	f.waitFor(" -> 127.0.0.1 -> " + web.Addr() + " closed after ")

	// The port is taken now.
	forward(t, home, false, "", append([]string{"-R", spec}, server(s)...)...).
		fails("the bastion refuses to listen")
	f.end(syscall.SIGTERM)
}

func TestForwardDynamic(t *testing.T) {
	t.Parallel()
	curl := sshtest.Program(t, "curl")
	s, web := sshtest.StartSSHD(t, sshtest.SSHDOptions{}), sshtest.NewWeb(t, sshtest.WebOptions{})
	port := sshtest.NewPort(t)
	f := forward(t, newHome(t, s.HostKeyLine()), false, "", append([]string{"-D", fmt.Sprint(port)}, server(s)...)...)
	f.waitFor(local(port) + " -> 127.0.0.1 -> anywhere (SOCKS5)\n")
	_, webPort, _ := net.SplitHostPort(web.Addr())
	out, err := exec.Command(curl, "-sS", "--max-time", "60", "--socks5-hostname", local(port), "http://localhost:"+webPort+"/hello").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "web") {
		t.Errorf("curl: %v: %s", err, out)
	}
	f.waitFor(" -> 127.0.0.1 -> localhost:" + webPort + "\n")
	f.end(syscall.SIGHUP)
}

// TestForwardRemoteDynamic: a SOCKS proxy on the bastion connects from here.
func TestForwardRemoteDynamic(t *testing.T) {
	t.Parallel()
	curl := sshtest.Program(t, "curl")
	s, web := sshtest.StartSSHD(t, sshtest.SSHDOptions{}), sshtest.NewWeb(t, sshtest.WebOptions{})
	port := sshtest.NewPort(t)
	f := forward(t, newHome(t, s.HostKeyLine()), false, "", append([]string{"-R", fmt.Sprintf("127.0.0.1:%d", port)}, server(s)...)...)
	f.waitFor(local(port) + " on 127.0.0.1 -> anywhere from here (SOCKS5)\n")
	out, err := exec.Command(curl, "-sS", "--max-time", "60", "--socks5-hostname", local(port), "http://"+web.Addr()+"/hello").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "web") {
		t.Errorf("curl: %v: %s", err, out)
	}
	f.waitFor(" -> 127.0.0.1 -> " + web.Addr() + "\n")
	f.end(syscall.SIGINT)
}

func TestForwardJump(t *testing.T) {
	t.Parallel()
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	key := sshtest.NewKey()
	var lines, jumps []string
	var servers []*sshtest.SSHD
	for range 3 {
		s := sshtest.StartSSHD(t, sshtest.SSHDOptions{AuthorizedKeys: []string{key.AuthorizedKey()}})
		servers = append(servers, s)
		lines = append(lines, s.HostKeyLine())
		jumps = append(jumps, s.User+"@"+s.Addr())
	}
	home, port := newHome(t, lines...), sshtest.NewPort(t)
	writeHome(t, home, ".ssh/id_ed25519", string(key.PEM(""))) // a default one
	f := forward(t, home, false, "", "-J", jumps[0]+","+jumps[1], fmt.Sprintf("%d:%s", port, web.Addr()), "ssh://"+jumps[2])
	f.waitFor(local(port) + " -> 127.0.0.1 -> 127.0.0.1 -> 127.0.0.1 -> " + web.Addr() + "\n")
	says(t, "tcp", local(port))
	for i, s := range servers {
		if s.Logins() != 1 {
			t.Errorf("server %d has seen %d logins", i, s.Logins())
		}
	}
	f.end(syscall.SIGINT)
}

func TestForwardReconnects(t *testing.T) {
	t.Parallel()
	s, web := sshtest.StartSSHD(t, sshtest.SSHDOptions{}), sshtest.NewWeb(t, sshtest.WebOptions{})
	port, remote := sshtest.NewPort(t), sshtest.NewPort(t)
	f := forward(t, newHome(t, s.HostKeyLine()), false, "", append([]string{
		fmt.Sprintf("%d:%s", port, web.Addr()), "-R", fmt.Sprintf("%d:%s", remote, web.Addr()),
	}, server(s)...)...)
	f.waitFor(fmt.Sprintf("localhost:%d on 127.0.0.1", remote))
	s.KillSessions(syscall.SIGKILL)
	f.waitFor("127.0.0.1: connection lost: ")
	for _, address := range []string{local(port), local(remote)} {
		sshtest.Eventually(t, patience, address+" works again", func() bool {
			_, err := hello(t, "tcp", address)
			return err == nil
		})
	}
	f.waitFor("127.0.0.1: reconnected\n")
	f.end(syscall.SIGINT)
}

func TestForwardQuiet(t *testing.T) {
	t.Parallel()
	s, web := sshtest.StartSSHD(t, sshtest.SSHDOptions{}), sshtest.NewWeb(t, sshtest.WebOptions{})
	port := sshtest.NewPort(t)
	f := forward(t, newHome(t, s.HostKeyLine()), false, "", append([]string{"-q", fmt.Sprintf("%d:%s", port, web.Addr())}, server(s)...)...)
	sshtest.Eventually(t, patience, "it forwards", func() bool {
		_, err := hello(t, "tcp", local(port))
		return err == nil
	})
	f.end(syscall.SIGINT)
	if out := f.output(); out != "" {
		t.Errorf("it printed %q", out)
	}
}

func TestForwardUnknownHostKey(t *testing.T) {
	t.Parallel()
	s, web := sshtest.StartSSHD(t, sshtest.SSHDOptions{}), sshtest.NewWeb(t, sshtest.WebOptions{})
	args := append([]string{fmt.Sprintf("%d:%s", sshtest.NewPort(t), web.Addr())}, server(s)...)
	home := newHome(t)
	knownHosts := filepath.Join(home, ".ssh", "known_hosts")
	fingerprint := s.HostKey.Fingerprint()

	forward(t, home, false, "", args...).fails("is unknown: offered ssh-ed25519 " + fingerprint)
	forward(t, home, false, "", append([]string{"--known-hosts", os.DevNull}, args...)...).fails("add the key to a file, and name that with --known-hosts or UserKnownHostsFile")
	marked := sshtest.WriteFile(t, "known_hosts", []byte("\ufeff"+s.HostKeyLine()+"\n"))
	forward(t, home, false, "", append([]string{"--known-hosts", marked}, args...)...).fails("(known_hosts line " + marked + ":1 is skipped: it begins with a byte order mark; run sed -i ")

	f := forward(t, home, true, "", args...)
	f.answer(fingerprint, "maybe")
	f.answer("Type yes, no or the fingerprint: ", "no")
	f.fails("was not accepted")
	if got := read(knownHosts); got != "" {
		t.Fatalf("known_hosts has %q", got)
	}

	// Ctrl-C is an answer, too.
	f = forward(t, home, true, "", args...)
	f.press(fingerprint, ctrlC)
	f.fails("interrupted")

	f = forward(t, home, true, "", args...)
	f.answer("(yes, no, or the fingerprint", fingerprint)
	f.waitFor(" -> " + web.Addr())
	f.end(syscall.SIGINT)
	if got := read(knownHosts); got != s.HostKeyLine()+"\n" {
		t.Fatalf("known_hosts has %q, want %q", got, s.HostKeyLine())
	}

	f = forward(t, home, false, "", args...)
	f.waitFor(" -> " + web.Addr())
	f.end(syscall.SIGINT)

	// Another key is refused, and nobody asked.
	writeHome(t, home, ".ssh/known_hosts", sshtest.KnownHostsLine(s.Addr(), sshtest.NewKey().PublicKey())+"\n")
	forward(t, home, true, "", args...).fails("host key mismatch")
}

func TestForwardKnownHostsFlag(t *testing.T) {
	t.Parallel()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	home := newHome(t)
	file := filepath.Join(home, "known")
	args := append([]string{"--known-hosts", file, fmt.Sprintf("%d:web:80", sshtest.NewPort(t))}, server(s)...)
	f := forward(t, home, true, "", args...)
	f.answer("(yes, no, or the fingerprint", "yes")
	f.waitFor(" -> web:80\n")
	f.end(syscall.SIGINT)
	if got := read(file); got != s.HostKeyLine()+"\n" {
		t.Errorf("it has %q, want %q", got, s.HostKeyLine())
	}
	if got := read(filepath.Join(home, ".ssh", "known_hosts")); got != "" {
		t.Errorf("known_hosts has %q", got)
	}
}

func TestForwardPassword(t *testing.T) {
	t.Parallel()
	b := sshtest.NewBastion(t, sshtest.BastionOptions{User: "deploy", Password: "hunter2"})
	home := newHome(t, b.KnownHostsLine())
	const question = "password of deploy at "
	args := []string{"--password", fmt.Sprintf("%d:web:80", sshtest.NewPort(t)), "deploy@" + b.Addr()}

	f := forward(t, home, true, "", args...)
	f.answer(question, "wrong")
	f.waitFor("the password was not accepted\n")
	sshtest.Eventually(t, patience, "it asks again", func() bool { return strings.Count(f.terminal(), question) == 2 })
	f.answer(question, "hunter2")
	f.waitFor(" -> web:80\n")
	f.end(syscall.SIGINT)
	if all := f.terminal() + f.output(); strings.Contains(all, "hunter2") || strings.Contains(all, "wrong") {
		t.Error("the password shows")
	}

	// Interrupted, it leaves the terminal as it was.
	f = forward(t, home, true, "", args...)
	f.press(question, ctrlC)
	f.fails("interrupted")
	if termios, err := unix.IoctlGetTermios(int(f.tty.Fd()), unix.TCGETS); err != nil || termios.Lflag&unix.ECHO == 0 {
		t.Errorf("the terminal does not show what is typed any more: %v", err)
	}

	// Without a terminal it is the first line of standard input.
	f = forward(t, home, false, "hunter2\nnot this\n", append([]string{"--no-key"}, args...)...)
	f.waitFor(" -> web:80\n")
	f.end(syscall.SIGINT)
	forward(t, home, false, "wrong\n", args...).fails("check user and password")
	forward(t, home, false, "", args...).fails("--password: nothing was entered")
}

func TestForwardPassphrase(t *testing.T) {
	t.Parallel()
	key := sshtest.NewKey()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{AuthorizedKeys: []string{key.AuthorizedKey()}})
	file := key.EncryptedFile(t, "hunter2")
	f := forward(t, newHome(t, s.HostKeyLine()), true, "", "-i", file, fmt.Sprintf("%d:web:80", sshtest.NewPort(t)), s.User+"@"+s.Addr())
	f.answer("passphrase of "+file, "hunter2")
	f.waitFor(" -> web:80\n")
	f.end(syscall.SIGINT)
	if strings.Contains(f.terminal()+f.output(), "hunter2") {
		t.Error("the passphrase shows")
	}
}

func TestForwardCannotStart(t *testing.T) {
	t.Parallel()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	home := newHome(t, s.HostKeyLine())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	_, takenPort, _ := net.SplitHostPort(taken.Addr().String())
	spec := func() string { return fmt.Sprintf("%d:web:80", sshtest.NewPort(t)) } // all run at once
	stranger := sshtest.WriteFile(t, "id", sshtest.NewKey().PEM(""))

	for name, c := range map[string]struct {
		want string
		args []string
	}{
		"bad forward":  {`forward "8008": write [bind:]port:host:hostport`, append([]string{"8008"}, server(s)...)},
		"port in use":  {`forward "` + takenPort + `:web:80": listen tcp 127.0.0.1:` + takenPort, append([]string{takenPort + ":web:80"}, server(s)...)},
		"same place":   {"listen at the same place", append([]string{"-R", takenPort + ":a:80", "-R", takenPort + ":b:80"}, server(s)...)},
		"password":     {"--password", []string{spec(), "u:hunter2@server"}},
		"nothing":      {"nothing to forward", server(s)},
		"no server":    {"connection refused", []string{"-i", s.ClientKeyFile(), spec(), "127.0.0.1:1"}},
		"no such name": {"bastion.invalid", []string{"-i", s.ClientKeyFile(), spec(), "bastion.invalid"}},
		"refused":      {"authentication as", []string{"-i", stranger, spec(), s.User + "@" + s.Addr()}},
		"no flag":      {"unknown flag: --nosuch", []string{"--nosuch"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forward(t, home, false, "", c.args...).fails(c.want)
		})
	}
}
