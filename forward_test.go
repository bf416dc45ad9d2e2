package sshtunnel

// forward_test.go tests the forwards of tunnels in a running Caddy, in front
// of an SSH bastion.

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/proxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// namedEcho is a target that says its name and then repeats what it gets, up to the
// end of the stream. It ends with the test.
func namedEcho(t *testing.T, name string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveEcho(t, ln, name)
	return ln
}

func serveEcho(t *testing.T, ln net.Listener, name string) {
	t.Helper()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, name)
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		conns.Wait()
	})
}

// forwardConfig returns a configuration with nothing but a tunnel to a bastion
// and its forwards.
func forwardConfig(t *testing.T, tunnel, forwards string) []byte {
	t.Helper()
	tunnel = strings.TrimSuffix(tunnel, "}\n") + forwards + "\n}\n"
	config, err := caddytest.Adapt("{\nadmin off\npersist_config off\nlog {\noutput discard\n}\nssh_tunnel {\n" + tunnel + "}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// run loads a configuration. Caddy stops when the test ends.
func run(t *testing.T, config []byte) {
	t.Helper()
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// greeted reads the name that a target says.
func greeted(t *testing.T, conn net.Conn, name string) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(sshtest.Patience))
	got := make([]byte, len(name))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != name {
		t.Fatalf("got %q (%v), want %q", got, err, name)
	}
}

func TestLocalForward(t *testing.T) {
	target, private := namedEcho(t, "db"), sshtest.SocketPath(t)
	unixTarget, err := net.Listen("unix", private)
	if err != nil {
		t.Fatal(err)
	}
	serveEcho(t, unixTarget, "db")
	b, tunnel := newTunnel(t, "prod", hosts{"db.internal:5432": target.Addr().String(), "/run/db.sock": private})
	tcp, sock, stale := freeAddress(t), sshtest.SocketPath(t), sshtest.SocketPath(t)

	left, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false) // as of a process that was killed
	_ = left.Close()

	run(t, forwardConfig(t, tunnel(b.Addr()), fmt.Sprintf(
		"local_forward %s db.internal:5432\nlocal_forward unix/%s|0600 unix//run/db.sock\nlocal_forward unix/%s db.internal:5432", tcp, sock, stale)))
	for _, a := range [][2]string{{"tcp", tcp}, {"unix", sock}, {"unix", stale}} {
		conn, err := net.Dial(a[0], a[1])
		if err != nil {
			t.Fatal(err)
		}
		greeted(t, conn, "db")
		exchange(t, conn.(dialer.Channel))
		_ = conn.Close()
	}
	for path, want := range map[string]os.FileMode{sock: 0o600, stale: 0o200} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v (%v), want %o", path, info.Mode(), err, want)
		}
	}

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", tcp); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the stop: %v", err)
	}
	if _, err := os.Stat(sock); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there (%v)", err)
	}
}

// TestForwardReloads reloads while connections go on and others come: none of
// either is lost, and new ones go to the new target.
func TestForwardReloads(t *testing.T) {
	one, two := namedEcho(t, "one"), namedEcho(t, "two")
	b, tunnel := newTunnel(t, "prod", hosts{"one.internal:80": one.Addr().String(), "two.internal:80": two.Addr().String()})
	address := freeAddress(t)
	config := func(target, options string) []byte {
		return forwardConfig(t, tunnel(b.Addr()), fmt.Sprintf("local_forward %s %s {\n%s\n}", address, target, options))
	}
	run(t, config("one.internal:80", ""))
	old := caddytest.DialTCP(t, address)
	greeted(t, old, "one")

	stop := make(chan struct{})
	var clients sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := visit(address); err != nil {
					t.Errorf("a client met %v", err)
					return
				}
				served.Add(1)
			}
		})
	}
	for i := range 10 {
		target, options := []string{"one.internal:80", "two.internal:80"}[i%2], []string{"", "idle_timeout 1h", "max_connections 100"}[i%3]
		if err := caddy.Load(config(target, options), true); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(target, ".")
		conn := caddytest.DialTCP(t, address)
		greeted(t, conn, name)
		_ = conn.Close()
		_, _ = io.WriteString(old, "ping")
		greeted(t, old, "ping")
	}
	close(stop)
	clients.Wait()
	if served.Load() < 20 {
		t.Errorf("only %d clients were served", served.Load())
	}

	// A forward that is gone takes no more, and keeps what it has.
	if err := caddy.Load(forwardConfig(t, tunnel(b.Addr()), ""), true); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without the forward: %v", err)
	}
	_, _ = io.WriteString(old, "ping")
	greeted(t, old, "ping")
	if n := b.Stats().Logins; n != 1 {
		t.Errorf("%d connections to the bastion", n)
	}
}

// visit is one client's connection. It returns the name of the target.
func visit(address string) (name string, err error) {
	conn, err := net.DialTimeout("tcp", address, sshtest.Patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(sshtest.Patience))
	if _, err := io.WriteString(conn, "hello"); err != nil {
		return "", err
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(conn)
	name, ok := strings.CutSuffix(string(got), "hello")
	if err == nil && !ok {
		err = io.ErrUnexpectedEOF
	}
	return name, err
}

// TestForwardInUse: a configuration that cannot listen is refused when it is
// loaded, not when it is validated, and leaves everything to the one before.
func TestForwardInUse(t *testing.T) {
	one, two, taken := namedEcho(t, "one"), namedEcho(t, "two"), caddytest.ListenAndCount(t)
	b, tunnel := newTunnel(t, "prod", hosts{"one.internal:80": one.Addr().String(), "two.internal:80": two.Addr().String()})
	address := freeAddress(t)
	run(t, forwardConfig(t, tunnel(b.Addr()), "local_forward "+address+" one.internal:80"))

	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if name, err := visit(address); name != "one" || err != nil {
				t.Errorf("a client met %q (%v)", name, err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for _, option := range []string{"local_forward %s two.internal:80", "dynamic_forward %s"} {
		bad := forwardConfig(t, tunnel(b.Addr()), "local_forward "+address+" two.internal:80\n"+fmt.Sprintf(option, taken.Addr()))
		if err := caddytest.Load(bad); err != nil {
			t.Errorf("validating: %v", err)
		}
		name, _, _ := strings.Cut(option, " ")
		want := fmt.Sprintf("tunnel %q: %s: listening on %q: bind: address already in use", "prod", name, taken.Addr())
		if err := caddy.Load(bad, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %s", err, want)
		}
	}
	close(stop)
	<-stopped
	if n := taken.Accepted(); n != 0 {
		t.Errorf("%d connections to the address that is in use", n)
	}
}

func TestDynamicForward(t *testing.T) {
	target := namedEcho(t, "web")
	b, tunnel := newTunnel(t, "prod", hosts{"web.internal:80": target.Addr().String(), "[2001:db8::1]:80": target.Addr().String()})
	open, closed := freeAddress(t), freeAddress(t)
	t.Setenv("SSH_TUNNEL_TEST_PASSWORD", "secret")
	run(t, forwardConfig(t, tunnel(b.Addr()), fmt.Sprintf("dynamic_forward %s\ndynamic_forward %s {\nuser alice {env.SSH_TUNNEL_TEST_PASSWORD}\n}", open, closed)))

	dial := func(through, address string, auth *proxy.Auth) (net.Conn, error) {
		d, err := proxy.SOCKS5("tcp", through, auth, proxy.Direct)
		if err != nil {
			t.Fatal(err)
		}
		return d.Dial("tcp", address)
	}
	for _, address := range []string{"web.internal:80", "[2001:db8::1]:80"} {
		conn, err := dial(open, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		greeted(t, conn, "web")
		_ = conn.Close()
	}
	if _, err := dial(open, "db.internal:80", nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("an unknown target: %v", err)
	}

	conn, err := dial(closed, "web.internal:80", &proxy.Auth{User: "alice", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	greeted(t, conn, "web")
	_ = conn.Close()
	for _, auth := range []*proxy.Auth{nil, {User: "alice", Password: "wrong"}} {
		if _, err := dial(closed, "web.internal:80", auth); err == nil {
			t.Errorf("%+v was let in", auth)
		}
	}
}

// TestRemoteForward: from the bastion to here, across reloads and a lost link.
func TestRemoteForward(t *testing.T) {
	one, two := namedEcho(t, "one"), namedEcho(t, "two")
	sock := sshtest.SocketPath(t)
	unixTarget, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	serveEcho(t, unixTarget, "sock")
	known := listenPROXY(t)
	serveEcho(t, known, "known")

	b, tunnel := newTunnel(t, "prod", nil)
	address, toSocket, toPROXY := freeAddress(t), freeAddress(t), freeAddress(t)
	_, port, _ := net.SplitHostPort(address) // which is loopback's
	config := func(target net.Listener) []byte {
		return forwardConfig(t, tunnel(b.Addr()), fmt.Sprintf("remote_forward %s %s\nremote_forward %s unix/%s\nremote_forward %s %s {\nproxy_protocol v2\n}",
			port, target.Addr(), toSocket, sock, toPROXY, known.Addr()))
	}
	run(t, config(one))
	sshtest.Eventually(t, 10*time.Second, "the bastion listens", func() bool { return b.Stats().Forwards == 3 })

	old := caddytest.DialTCP(t, address)
	greeted(t, old, "one")
	other := caddytest.DialTCP(t, toSocket)
	greeted(t, other, "sock")
	exchange(t, other)
	greeted(t, caddytest.DialTCP(t, toPROXY), "known")
	if seen := known.seen(); strings.Contains(strings.Join(seen, " "), "LOCAL") || len(seen) == 0 {
		t.Errorf("the target got %v", seen)
	}

	if err := caddy.Load(config(two), true); err != nil {
		t.Fatal(err)
	}
	greeted(t, caddytest.DialTCP(t, address), "two")
	_, _ = io.WriteString(old, "ping")
	greeted(t, old, "ping")
	if n := b.Stats().ForwardRequests; n != 3 {
		t.Errorf("the bastion was asked %d times to listen", n)
	}

	if err := caddy.Load(forwardConfig(t, tunnel(b.Addr()), ""), true); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 10*time.Second, "the bastion listens no more", func() bool { return b.Stats().Forwards == 0 })
	_, _ = io.WriteString(old, "ping")
	greeted(t, old, "ping")
}

// TestForwardNull: JSON may have nulls.
func TestForwardNull(t *testing.T) {
	for _, list := range []string{"local_forwards", "remote_forwards", "dynamic_forwards"} {
		config := fmt.Sprintf(`{"admin":{"disabled":true},"apps":{"ssh_tunnel":{"tunnels":{"prod":{"hosts":["me@b"],"password":"x","host_keys":[%q],%q:[null]}}}}}`, caddytest.Fingerprint, list)
		if err := caddytest.Load([]byte(config)); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(list, "s")+": empty") {
			t.Errorf("%s: got error %v", list, err)
		}
	}
}

func TestForwardOptionsJSON(t *testing.T) {
	for want, options := range map[string]string{
		`proxy_protocol: "v3" is neither v1 nor v2`: `"proxy_protocol": "v3"`,
		`idle_timeout: 15ns is below 1ms`:           `"idle_timeout": 15`,
		`max_connections: -1 is negative`:           `"max_connections": -1`,
	} {
		config := fmt.Sprintf(`{"admin":{"disabled":true},"apps":{"ssh_tunnel":{"tunnels":{"prod":{"hosts":["me@b"],"password":"x","host_keys":[%q],"local_forwards":[{"listen":"80","target":"web:80",%s}]}}}}}`, caddytest.Fingerprint, options)
		if err := caddytest.Load([]byte(config)); err == nil || !strings.Contains(err.Error(), "local_forward: "+want) {
			t.Errorf("got error %v, want %s", err, want)
		}
	}
}
