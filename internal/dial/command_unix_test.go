//go:build unix

package dial

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// greeter listens, and greets whoever connects.
func greeter(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello")
			_ = conn.Close()
		}
	}()
	return ln.Addr().String()
}

// TestShellCommand: a shell executes the command, in its own place.
func TestShellCommand(t *testing.T) {
	t.Setenv(subprocess.Allow, "1")
	nc := sshtest.Program(t, "nc")
	for _, command := range []string{nc + ` %h "$(echo %p)" 2>/dev/null`, "true && " + nc + " %h %p", nc + " %h %p | cat"} {
		d := Dialer{Address: greeter(t), Command: []string{command}, Shell: true}
		conn, err := d.Dial(t.Context(), zap.NewNop())
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		got := make([]byte, 5)
		_, err = io.ReadFull(conn, got)
		if strings.HasPrefix(command, "true") { // exec true is all of it, as for ssh
			if err == nil || !strings.Contains(err.Error(), `proxy_command "true" has ended (exit status 0)`) {
				t.Errorf("%s: got %q, %v", command, got, err)
			}
		} else if err != nil || string(got) != "hello" {
			t.Errorf("%s: got %q, %v", command, got, err)
		}
		_ = conn.Close()
	}
	d := Dialer{Address: "b.example:22", User: "a;b", Command: []string{"x %r"}, Shell: true}
	if _, err := d.Dial(t.Context(), zap.NewNop()); err == nil || !strings.Contains(err.Error(), `proxy_command: %r is "a;b" here, which means more than a name to a shell`) {
		t.Errorf("got %v", err)
	}
}

// TestFdpass: the connection is the one that the command passes, and the command ends.
func TestFdpass(t *testing.T) {
	t.Setenv(subprocess.Allow, "1")
	address := greeter(t)
	d := Dialer{Address: address, Command: []string{sshtest.Program(t, "nc") + " -F %h %p"}, Shell: true, Fdpass: true}
	conn, err := d.Dial(t.Context(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := conn.(*net.TCPConn); !ok || conn.RemoteAddr().String() != address {
		t.Errorf("got a %T to %v", conn, conn.RemoteAddr())
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	_ = conn.Close()
}

// TestReceiveSocketOfSeveral: of file descriptors that cannot be used, none stays open.
func TestReceiveSocketOfSeveral(t *testing.T) {
	for n := 1; n <= 3; n++ {
		ours, theirs, err := commandSockets()
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		rights := syscall.UnixRights(slices.Repeat([]int{int(w.Fd())}, n)...)
		if err := syscall.Sendmsg(int(theirs.Fd()), []byte{0}, rights, nil, 0); err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		if conn, err := receiveSocket(ours); err == nil {
			t.Errorf("%d: got %v", n, conn)
		}
		_ = r.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadAll(r); err != nil {
			t.Errorf("%d: one is still open: %v", n, err)
		}
		_, _, _ = r.Close(), ours.Close(), theirs.Close()
	}
}

// TestFdpassFails: the error says how, and nothing is left.
func TestFdpassFails(t *testing.T) {
	t.Setenv(subprocess.Allow, "1")
	nc := sshtest.Program(t, "nc")
	for script, want := range map[string]string{
		"echo no thanks >&2; exit 3":                      `proxy_command "sh" has ended (exit status 3, "no thanks"); it passed no connection, as ProxyUseFdpass requires`,
		"echo SSH-2.0-x":                                  "it sent data, and no file descriptor",
		"sleep 1000 & echo $! >PID; wait":                 "it passed no connection and ended, as ProxyUseFdpass requires: enough",
		nc + " -F %h %p; sleep 1000 & echo $! >PID; wait": "it passed no connection and ended, as ProxyUseFdpass requires: enough",
	} {
		pid := filepath.Join(t.TempDir(), "pid")
		ctx, cancel := context.WithCancelCause(t.Context())
		if strings.Contains(script, "PID") {
			go func() {
				sshtest.Eventually(t, sshtest.Patience, "its start", func() bool { content, _ := os.ReadFile(pid); return strings.HasSuffix(string(content), "\n") })
				cancel(errors.New("enough"))
			}()
		}
		d := Dialer{Address: greeter(t), Command: []string{"sh", "-c", strings.ReplaceAll(script, "PID", pid)}, Fdpass: true}
		conn, err := d.Dial(ctx, zap.NewNop())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want %q", script, conn, err, want)
		}
		if content, err := os.ReadFile(pid); err == nil {
			n, _ := strconv.Atoi(strings.TrimSpace(string(content)))
			sshtest.Eventually(t, 10*time.Second, "the end of what it has started", func() bool { return syscall.Kill(n, 0) != nil })
		}
		cancel(nil)
	}
}
