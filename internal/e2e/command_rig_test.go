//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// command_rig_test.go runs `caddy ssh-tunnel forward`, on a terminal and without.

// forwarding is a running `caddy ssh-tunnel forward`.
type forwarding struct {
	t      *testing.T
	home   string
	cmd    *exec.Cmd
	stderr string          // the file
	exited <-chan struct{} // closed when cmd has ended
	tty    *os.File        // the other side of its terminal, if it has one
	shown  *os.File        // the file that all that the terminal shows goes to
}

// newHome returns a home directory in which the servers' host keys are known.
func newHome(t *testing.T, knownHosts ...string) string {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if len(knownHosts) > 0 {
		writeHome(t, home, ".ssh/known_hosts", strings.Join(knownHosts, "\n")+"\n")
	}
	return home
}

func writeHome(t *testing.T, home, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(home, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// forward starts the command, in a session of its own so that it has no
// terminal but, if onTerminal, a new one.
func forward(t *testing.T, home string, onTerminal bool, stdin string, args ...string) *forwarding {
	t.Helper()
	return startCommand(t, home, onTerminal, stdin, append([]string{"forward"}, args...)...)
}

// startCommand is forward for any command of caddy ssh-tunnel.
func startCommand(t *testing.T, home string, onTerminal bool, stdin string, args ...string) *forwarding {
	t.Helper()
	f := &forwarding{t: t, home: home}
	f.cmd = (&caddy{t: t, home: home}).command(append([]string{"ssh-tunnel"}, args...)...)
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	f.stderr = filepath.Join(t.TempDir(), "stderr")
	f.cmd.Stdin = strings.NewReader(stdin)
	if onTerminal {
		slave := f.openTerminal()
		defer func() { _ = slave.Close() }()
		f.cmd.Stdin = slave
		f.cmd.SysProcAttr.Setctty = true // its standard input
	}
	process, err := sshtest.StartProcess(f.cmd, f.stderr)
	if err != nil {
		t.Fatal(err)
	}
	f.exited = process.Exited
	t.Cleanup(func() {
		process.Kill()
		if t.Failed() {
			t.Logf("it printed:\n%s\nand on the terminal:\n%s", f.output(), f.terminal())
		}
	})
	return f
}

// openTerminal makes a terminal, and keeps all that it shows.
func (f *forwarding) openTerminal() (slave *os.File) {
	f.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		f.t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		f.t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	shown, err := os.Create(filepath.Join(f.t.TempDir(), "terminal"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.tty, f.shown = master, shown
	copied := make(chan struct{})
	// Returns when nobody has the terminal any more, which the command's end
	// sees to.
	go func() {
		defer close(copied)
		_, _ = io.Copy(shown, master)
	}()
	f.t.Cleanup(func() {
		<-copied
		_ = master.Close()
		_ = shown.Close()
	})
	return slave
}

// read returns what a file has, which may not be there.
func read(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(content)
}

func (f *forwarding) output() string { return read(f.stderr) }

func (f *forwarding) terminal() string {
	if f.shown == nil {
		return ""
	}
	return read(f.shown.Name())
}

// waitFor waits until it has printed a text.
func (f *forwarding) waitFor(text string) {
	f.t.Helper()
	sshtest.Eventually(f.t, patience, fmt.Sprintf("it prints %q", text), func() bool {
		return strings.Contains(f.output(), text)
	})
}

// answer waits until the terminal shows a question, and types a line.
func (f *forwarding) answer(question, line string) {
	f.t.Helper()
	f.press(question, line+"\n")
}

// press is answer with keys, ctrlC for one.
func (f *forwarding) press(question, keys string) {
	f.t.Helper()
	sshtest.Eventually(f.t, patience, fmt.Sprintf("the terminal shows %q", question), func() bool {
		select {
		case <-f.exited:
			f.t.Fatalf("it has ended before it asked %q", question)
		default:
		}
		return strings.Contains(f.terminal(), question)
	})
	if _, err := f.tty.WriteString(keys); err != nil {
		f.t.Fatal(err)
	}
}

// wait returns the exit status.
func (f *forwarding) wait() int {
	f.t.Helper()
	select {
	case <-f.exited:
	case <-time.After(patience):
		f.t.Fatal("it does not end")
	}
	return f.cmd.ProcessState.ExitCode()
}

// end ends it with a signal and fails the test unless that is clean.
func (f *forwarding) end(sig syscall.Signal) {
	f.t.Helper()
	_ = f.cmd.Process.Signal(sig)
	if code := f.wait(); code != 0 {
		f.t.Errorf("exit status %d after %v", code, sig)
	}
}

// fails fails the test unless it ends with status 1 and one line that has a
// text.
func (f *forwarding) fails(text string) {
	f.t.Helper()
	if code := f.wait(); code != 1 {
		f.t.Errorf("exit status %d", code)
	}
	out := f.output()
	if !strings.Contains(out, text) || strings.Count(out, "\n") != 1 {
		f.t.Errorf("it printed %q, not one line with %q", out, text)
	}
}

// hello returns what the web server says to GET /hello.
func hello(t *testing.T, network, address string) (string, error) {
	t.Helper()
	client := http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		},
	}
	response, err := client.Get("http://web/hello")
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// says fails the test unless the web server answers at an address.
func says(t *testing.T, network, address string) {
	t.Helper()
	got, err := hello(t, network, address)
	if err != nil || !strings.Contains(got, "web") {
		t.Errorf("at %s: %q %v", address, got, err)
	}
}

func local(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// server is what the command needs to know of an sshd.
func server(s *sshtest.SSHD) []string {
	return []string{"-p", fmt.Sprint(s.Port), "-i", s.ClientKeyFile(), s.User + "@" + s.Host}
}
