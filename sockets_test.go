package sshtunnel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestForwardInUseByForward: a reload that writes an address in another way is
// told what is in the way, and works once that has gone.
func TestForwardInUseByForward(t *testing.T) {
	target := namedEcho(t, "one")
	b, tunnel := newTunnel(t, "prod", hosts{"one.internal:80": target.Addr().String()})
	address := freeAddress(t)
	before := forwardConfig(t, tunnel(b.Addr()), "local_forward "+address+" one.internal:80")
	after := forwardConfig(t, tunnel(b.Addr()), "local_forward tcp4/"+address+" one.internal:80")
	run(t, before)
	want := fmt.Sprintf("listening on %q: bind: address already in use, by a forward of this Caddy that listens on %q", "tcp4/"+address, address)
	if err := caddy.Load(after, true); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want %s", err, want)
	}
	greeted(t, caddytest.DialTCP(t, address), "one")
	for _, config := range [][]byte{forwardConfig(t, tunnel(b.Addr()), ""), after} {
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
	}
	greeted(t, caddytest.DialTCP(t, address), "one")
}

// TestForwardSocketRemoved: where somebody has removed a socket, a reload listens
// anew, and what has been connected stays so.
func TestForwardSocketRemoved(t *testing.T) {
	target := namedEcho(t, "one")
	b, tunnel := newTunnel(t, "prod", hosts{"one.internal:80": target.Addr().String()})
	sock := sshtest.SocketPath(t)
	config := func(options string) []byte {
		return forwardConfig(t, tunnel(b.Addr()), fmt.Sprintf("local_forward unix/%s one.internal:80 {\n%s\n}", sock, options))
	}
	connect := func() net.Conn {
		conn, err := net.Dial("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		greeted(t, conn, "one")
		return conn
	}
	run(t, config(""))
	conns := []net.Conn{connect()}
	if err := os.Remove(sock); err != nil {
		t.Fatal(err)
	}
	for _, options := range []string{"idle_timeout 1h", "idle_timeout 2h"} {
		if err := caddy.Load(config(options), true); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, connect())
	}
	for _, conn := range conns {
		_, _ = io.WriteString(conn, "ping")
		greeted(t, conn, "ping")
	}
	if err := caddy.Load(forwardConfig(t, tunnel(b.Addr()), ""), true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(sock); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there (%v)", err)
	}
}

// TestForwardSocketMode: a reload changes the permissions of a socket, and one
// that fails does not.
func TestForwardSocketMode(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", nil)
	sock, taken := sshtest.SocketPath(t), caddytest.ListenAndCount(t)
	config := func(mode, more string) []byte {
		return forwardConfig(t, tunnel(b.Addr()), fmt.Sprintf("local_forward unix/%s|%s one.internal:80\n%s", sock, mode, more))
	}
	expect := func(want os.FileMode) {
		t.Helper()
		if info, err := os.Stat(sock); err != nil || info.Mode().Perm() != want {
			t.Errorf("got %v (%v), want %o", info.Mode(), err, want)
		}
	}
	run(t, config("0600", ""))
	expect(0o600)
	if err := caddy.Load(config("0666", "dynamic_forward "+taken.Addr().String()), true); err == nil {
		t.Error("an address that is taken was listened on")
	}
	expect(0o600)
	// This one fails after its forwards have begun to serve, or before.
	broken := strings.Replace(string(config("0666", "")), `"apps":{`, fmt.Sprintf(`"apps":{"http":{"servers":{"x":{"listen":[%q]}}},`, taken.Addr()), 1)
	for range 5 {
		if err := caddy.Load([]byte(broken), true); err == nil {
			t.Error("an address that is taken was listened on")
		}
		expect(0o600)
	}
	if err := caddy.Load(config("0660", ""), true); err != nil {
		t.Fatal(err)
	}
	expect(0o660)
}

// TestForwardSocketReplaced: who can write to the directory of a socket puts
// something else in its place. Nothing of that has its permissions changed, and
// the next reload says what is there.
func TestForwardSocketReplaced(t *testing.T) {
	target := namedEcho(t, "one")
	b, tunnel := newTunnel(t, "prod", hosts{"one.internal:80": target.Addr().String()})
	dir := sshtest.OthersDir(t)
	sock, secret, private := filepath.Join(dir, "sock"), filepath.Join(t.TempDir(), "secret"), filepath.Join(dir, "private")
	config := func(forwards string) []byte { return forwardConfig(t, tunnel(b.Addr()), forwards) }
	forwards := func(mode string) string {
		return fmt.Sprintf("local_forward unix/%s one.internal:80\nlocal_forward unix/%s|%s one.internal:80\n", private, sock, mode)
	}
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	perm := func(path string) fs.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	for name, replace := range map[string]func() error{
		"a link to a file":       func() error { return os.Symlink(secret, sock) },
		"a link to a socket":     func() error { return os.Symlink(private, sock) },
		"another of our sockets": func() error { return os.Rename(private, sock) },
		"a file":                 func() error { return os.Link(secret, sock) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, config(forwards("0666")))
			if got := perm(sock); got != 0o666 {
				t.Fatalf("the socket has mode %o", got)
			}
			before, err := os.Lstat(private)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Remove(sock), replace()); err != nil {
				t.Skip(err) // another file system
			}
			for _, mode := range []string{"0666", "0777"} {
				err := caddy.Load(config(forwards(mode)), true)
				if err == nil || !strings.Contains(err.Error(), "unix/"+sock) {
					t.Errorf("with mode %s: got error %v", mode, err)
				}
			}
			// The forwards go, and what is not theirs stays.
			if err := caddy.Load(config(""), true); err != nil {
				t.Fatal(err)
			}
			if got := perm(secret); got != 0o600 {
				t.Errorf("the file has mode %o", got)
			}
			if after, err := os.Lstat(sock); err != nil {
				t.Errorf("what was put there is gone: %v", err)
			} else if os.SameFile(before, after) && after.Mode().Perm() != 0o200 {
				t.Errorf("the other socket has mode %v", after.Mode())
			}
			_ = os.Remove(sock)
			if entries, _ := os.ReadDir(dir); len(entries) > 0 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}
