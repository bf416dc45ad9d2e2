//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// activation_test.go has Caddy started by the first connection to one of its sockets.

// echoes sends a line on a connection and reads it back.
func echoes(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(conn).ReadString('\n'); got != line+"\n" {
		t.Fatalf("got %q (%v), want %q", got, err, line)
	}
}

// connectTo connects to an address of this machine.
func connectTo(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout(network, address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestSocketActivation: forwards listen on sockets that Caddy is started with, through
// reloads, and when a configuration without them is followed by one with them.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	program(t, "systemd-socket-activate")
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) })
	local, socks, open := sshtest.NewPort(t), sshtest.NewPort(t), sshtest.NewPort(t)
	address := fmt.Sprintf("127.0.0.1:%d", local)

	c := newCaddy(t, "SOCKS_FD=5", "PROXY_PASSWORD=correct horse")
	socket := c.home + "/echo.sock"
	c.sockets = []string{address, socket, fmt.Sprintf("127.0.0.1:%d", socks), fmt.Sprintf("0.0.0.0:%d", open)}
	config := func(forwards ...string) string { return c.caddyfile(b.tunnel("prod", forwards...), "", "") }
	all := []string{"local_forward fd/3 echo.internal:7", "local_forward fd/4 echo.internal:7", "dynamic_forward fd/{env.SOCKS_FD}"}

	first := make(chan net.Conn, 1)
	// Returns when systemd-socket-activate listens, or the test has failed.
	go func() {
		defer close(first)
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if conn, err := net.Dial("tcp", address); err == nil {
				first <- conn
				return
			}
		}
	}()
	c.start(config(all...))
	stream, ok := <-first
	if !ok {
		t.Fatal("nothing listens")
	}
	defer stream.Close()
	echoes(t, stream, "the connection that started Caddy")
	echoes(t, connectTo(t, "unix", socket), "a Unix socket")
	fetch := func(port int, args ...string) {
		t.Helper()
		args = append(args, "-sS", "--socks5-hostname", fmt.Sprintf("127.0.0.1:%d", port), "http://web.internal/hello")
		if got := output(t, client(t, "curl", args...)); !strings.Contains(got, "hello from web") {
			t.Errorf("curl prints %q", got)
		}
	}
	fetch(socks)

	// A reload that changes the forwards, one without any, and back.
	c.reload(config("local_forward fd/3 echo.internal:7 {\nidle_timeout 1h\n}", all[2]))
	echoes(t, stream, "after a reload")
	echoes(t, connectTo(t, "tcp", address), "a new connection")
	fetch(socks)
	c.reload(config())
	echoes(t, stream, "without the forward")
	waiting := connectTo(t, "tcp", address) // in the socket's queue
	for forwards, want := range map[string]string{
		"dynamic_forward fd/6": fmt.Sprintf(`listen address \"fd/6 (0.0.0.0:%d)\": whoever reaches it could use the tunnel`, open),
		"local_forward fd/0 echo.internal:7\nlocal_forward fd/3 echo.internal:7": `local_forward: listening on \"fd/0\": it is not a socket`,
		"local_forward fd/12345 echo.internal:7":                                 "nobody passed this file descriptor to Caddy",
	} {
		if err := c.load(config(forwards)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", forwards, err, want)
		}
	}
	c.reload(config(append(all, "dynamic_forward fd/6 {\nuser me {env.PROXY_PASSWORD}\n}")...))
	echoes(t, waiting, "after the forward is back")
	echoes(t, stream, "the first connection")
	fetch(open, "--proxy-user", "me:correct horse")
	if forwards := c.status("prod").Forwards; len(forwards) != 4 || forwards[0].Listen != "fd/3" || forwards[0].Connections != 1 {
		t.Errorf("the status of the forwards is %+v", forwards)
	}
}
