package sshtunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
)

func TestParseListen(t *testing.T) {
	for _, tt := range []struct {
		s            string
		at           side
		want, refuse string
		loopback     bool
	}{
		{s: "5432", want: "127.0.0.1:5432", loopback: true},
		{s: ":5432", want: "127.0.0.1:5432", loopback: true},
		{s: "tcp/:5432", want: "127.0.0.1:5432", loopback: true},
		{s: "tcp6/:5432", want: "tcp6/[::1]:5432", loopback: true},
		{s: "localhost:5432", want: "localhost:5432", loopback: true},
		{s: "127.0.0.2:05432", want: "127.0.0.2:5432", loopback: true},
		{s: "[::1]:5432", want: "[::1]:5432", loopback: true},
		{s: "[::ffff:127.0.0.1]:5432", want: "[::ffff:127.0.0.1]:5432", loopback: true},
		{s: "*:5432", want: ":5432"},
		{s: "0.0.0.0:5432", want: "0.0.0.0:5432"},
		{s: "[::]:5432", want: "[::]:5432"},
		{s: "localhost.example.com:5432", want: "localhost.example.com:5432"},
		{s: "unix//run/x.sock", want: "unix//run/x.sock", loopback: true},
		{s: "unix//run/x.sock|0222", want: "unix//run/x.sock", loopback: true},
		{s: "unix/x.sock", want: "unix/x.sock", loopback: true},
		{s: "LocalHost:5432", want: "localhost:5432", loopback: true},

		{s: "8080", at: onBastion, want: "localhost:8080", loopback: true},
		{s: "LocalHost:8080", at: onBastion, want: "localhost:8080", loopback: true},
		{s: ":8080", at: onBastion, want: "localhost:8080", loopback: true},
		{s: "*:8080", at: onBastion, want: "*:8080"},
		{s: "0.0.0.0:8080", at: onBastion, want: "0.0.0.0:8080"},
		{s: "unix//run/a|b.sock", at: onBastion, want: "unix//run/a|b.sock", loopback: true},

		{s: "", refuse: "no port"},
		{s: "web", refuse: "no port"},
		{s: "my-host", refuse: "no port"},
		{s: "web:", refuse: `port "" is not one`},
		{s: "web:http", refuse: `port "http" is not one`},
		{s: "web:0", refuse: `port "0" is not one`},
		{s: "web:65536", refuse: `port "65536" is not one`},
		{s: "8000-8010", refuse: "one port"},
		{s: "127.0.0.1:8000-8010", refuse: "one port"},
		{s: "::1:80", refuse: "in brackets"},
		{s: "udp/:53", refuse: `network "udp"`},
		{s: "fd/3", refuse: `network "fd"`},
		{s: "unix/", refuse: "no path"},
		{s: "unix//x|9", refuse: "octal"},
		{s: "unix//x|0444", refuse: "not writable"},
		{s: "tcp6/:80", at: onBastion, refuse: `network "tcp6"`},
		{s: "unix/x.sock", at: onBastion, refuse: "absolute path"},
	} {
		a, err := parseListen(tt.s, tt.at)
		switch {
		case tt.refuse != "":
			if err == nil || !strings.Contains(err.Error(), tt.refuse) {
				t.Errorf("%q: got error %v, want %q", tt.s, err, tt.refuse)
			}
		case err != nil || a.String() != tt.want || a.isLoopback() != tt.loopback:
			t.Errorf("%q: got %q, loopback %v (%v); want %q, loopback %v", tt.s, a, a.isLoopback(), err, tt.want, tt.loopback)
		}
	}
}

// TestListenSocket: what is in the way of a socket is removed only if it is one
// that nobody listens on.
func TestListenSocket(t *testing.T) {
	path := socketPath(t)
	a, err := parseListen("unix/"+path, here)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenAt(a); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got error %v", err)
	}
	if got, err := os.ReadFile(path); string(got) != "precious" {
		t.Errorf("the file is %q (%v)", got, err)
	}
	_ = os.Remove(path)

	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := listenAt(a); err == nil || !strings.Contains(err.Error(), "another process listens on it") {
		t.Errorf("got error %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	_ = other.Close() // which removes it

	// Connecting to one fails that is of another kind, and in use.
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	if _, err := listenAt(a); err == nil || !strings.Contains(err.Error(), "nothing tells whether it is in use") {
		t.Errorf("got error %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

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
	greeted(t, dialTCP(t, address), "one")
	for _, config := range [][]byte{forwardConfig(t, tunnel(b.Addr()), ""), after} {
		if err := caddy.Load(config, true); err != nil {
			t.Fatal(err)
		}
	}
	greeted(t, dialTCP(t, address), "one")
}

// TestForwardSocketRemoved: where somebody has removed a socket, a reload listens
// anew, and what has been connected stays so.
func TestForwardSocketRemoved(t *testing.T) {
	target := namedEcho(t, "one")
	b, tunnel := newTunnel(t, "prod", hosts{"one.internal:80": target.Addr().String()})
	sock := socketPath(t)
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
	sock, taken := socketPath(t), listenAndCount(t)
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

// TestStatusWhileListening: while the name of an address is looked up, or a socket
// tried, the status of others does not wait, nor that of this one.
func TestStatusWhileListening(t *testing.T) {
	resolver, asked, answer := net.DefaultResolver, make(chan struct{}, 10), make(chan struct{})
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked <- struct{}{}
		<-answer
		return nil, errors.New("no name server")
	}}
	t.Cleanup(func() { net.DefaultResolver = resolver })
	var r socketRegistry
	a, err := parseListen("name.example.com:80", here)
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		_, err := r.open(a, new(forward.Forwarder))
		opened <- err
	}()
	<-asked
	told := make(chan bool)
	go func() {
		listening, _ := r.status(a)
		told <- listening
	}()
	select {
	case listening := <-told:
		if listening {
			t.Error("it listens already")
		}
	case <-time.After(10 * time.Second):
		t.Error("the status waits")
	}
	close(answer)
	if err := <-opened; err == nil {
		t.Error("it listens")
	}
}
