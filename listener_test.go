package sshtunnel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/pires/go-proxyproto"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/clienthello"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/rawconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// forwarding wraps a loopback listener that forwards to a target. It
// returns its address and what it logs.
func forwarding(t *testing.T, tun dialer.Dialer, target string, wrap func(net.Listener) net.Listener) (string, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	w := &ListenerWrapper{TunnelName: "prod", Target: target}
	if err := w.provision(zap.New(core), tun); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inner := ln
	if wrap != nil {
		inner = wrap(ln)
	}
	wrapped := w.WrapListener(inner)
	ended := make(chan error)
	go func() {
		conn, err := wrapped.Accept()
		if conn != nil {
			err = errors.New("a connection was left to the HTTP server")
		}
		ended <- err
	}()
	t.Cleanup(func() {
		_ = wrapped.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept returned %v", err)
		}
	})
	return ln.Addr().String(), logs
}

// echo is a target that waits for the end of what it is sent before it sends
// all of it back.
func echo(t *testing.T, ln *caddytest.CountingListener) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case conn := <-ln.Conns:
			all, _ := io.ReadAll(conn)
			_, _ = conn.Write(all)
			_ = conn.Close()
		case <-t.Context().Done():
		}
	}()
	t.Cleanup(func() { <-done })
}

// exchange sends a word, half-closes, and expects it back.
func exchange(t *testing.T, conn dialer.Channel) {
	t.Helper()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("got %q back (%v)", got, err)
	}
}

func TestForward(t *testing.T) {
	ln := caddytest.ListenAndCount(t)
	tun := &caddytest.Tunnel{Routes: map[string]string{"git.internal:22": ln.Addr().String()}}
	address, logs := forwarding(t, tun, "git.internal:22", nil)
	echo(t, ln)
	conn := caddytest.DialTCP(t, address)
	exchange(t, conn)

	want := tunnel.Target{
		Network: "tcp", Address: "git.internal:22", Class: tunnel.Stream,
		Originator: conn.LocalAddr().(*net.TCPAddr).AddrPort(),
	}
	if got := tun.Dialed(); len(got) != 1 || got[0] != want {
		t.Errorf("dialed %+v, want %+v", got, want)
	}
	sshtest.Eventually(t, 2*time.Second, "both lines are logged", func() bool { return logs.Len() == 2 })
	for i, message := range []string{"connection opened", "connection closed"} {
		entry := logs.All()[i]
		fields := entry.ContextMap()
		if entry.Message != message || entry.Level != zapcore.DebugLevel {
			t.Errorf("logged %v", entry)
		}
		if fields["tunnel"] != "prod" || fields["target"] != "git.internal:22" || fields["remote"] != conn.LocalAddr().String() {
			t.Errorf("logged %v", fields)
		}
		if i == 1 && (fields["read"] != int64(5) || fields["written"] != int64(5) || fields["duration"] == nil || fields["error"] != nil) {
			t.Errorf("logged %v", fields)
		}
	}
	if n := tun.OpenChannels.Load(); n != 0 {
		t.Errorf("%d channels left open", n)
	}
}

func TestForwardToSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "fwd") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			_, _ = io.WriteString(conn, "hello")
			_ = conn.Close()
		}
	}()
	address, _ := forwarding(t, new(caddytest.Tunnel), "unix/"+path, nil)
	if got, err := io.ReadAll(caddytest.DialTCP(t, address)); err != nil || string(got) != "hello" {
		t.Errorf("got %q (%v)", got, err)
	}
}

// TestForwardRefused: a client that only reads must not take a failure for an
// empty success.
func TestForwardRefused(t *testing.T) {
	down := &tunnel.DownError{Tunnel: "prod", Cause: errors.New("no route to host"), RetryAfter: time.Second}
	address, logs := forwarding(t, &caddytest.Tunnel{Err: down}, "git.internal:22", nil)
	conn, err := net.Dial("tcp", address) // the reset may come this early
	if err == nil {
		_, err = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got error %v", err)
	}
	entries := logs.FilterMessage("dialing target failed").All()
	if len(entries) != 1 || entries[0].Level != zapcore.ErrorLevel || entries[0].ContextMap()["error"] != `tunnel "prod" is down: no route to host` {
		t.Errorf("logged %v", logs.All())
	}
}

func withPROXY(ln net.Listener) net.Listener {
	return &proxyproto.Listener{Listener: ln, ReadHeaderTimeout: time.Minute}
}

// TestForwardLost: nor must it take a lost link for the end.
func TestForwardLost(t *testing.T) {
	for name, tt := range map[string]struct {
		wrap func(net.Listener) net.Listener
		say  string
	}{
		"TCP":            {},
		"PROXY protocol": {withPROXY, "PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ln := caddytest.ListenAndCount(t)
			tun := &caddytest.Tunnel{Wrap: func(c dialer.Channel) dialer.Channel { return caddytest.LostChannel{Channel: c} }}
			address, logs := forwarding(t, tun, ln.Addr().String(), tt.wrap)
			conn := caddytest.DialTCP(t, address)
			if _, err := io.WriteString(conn, tt.say); err != nil {
				t.Fatal(err)
			}
			_ = (<-ln.Conns).Close()
			if got, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %q, then %v", got, err)
			}
			sshtest.Eventually(t, 2*time.Second, "the end is logged", func() bool { return logs.FilterMessage("connection closed").Len() == 1 })
			if text := fmt.Sprint(logs.FilterMessage("connection closed").All()[0].ContextMap()["error"]); !strings.Contains(text, "unexpected EOF") {
				t.Errorf("logged error %s", text)
			}
		})
	}
}

func TestForwardAfterTLS(t *testing.T) {
	ca := sshtest.NewCA()
	withTLS := func(ln net.Listener) net.Listener {
		return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{ca.Issue("front.test")}})
	}
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "front.test"}

	t.Run("half-close", func(t *testing.T) {
		ln := caddytest.ListenAndCount(t)
		address, _ := forwarding(t, new(caddytest.Tunnel), ln.Addr().String(), withTLS)
		echo(t, ln)
		exchange(t, tls.Client(caddytest.DialTCP(t, address), client))
	})

	t.Run("lost", func(t *testing.T) {
		ln := caddytest.ListenAndCount(t)
		tun := &caddytest.Tunnel{Wrap: func(c dialer.Channel) dialer.Channel { return caddytest.LostChannel{Channel: c} }}
		address, _ := forwarding(t, tun, ln.Addr().String(), withTLS)
		conn := tls.Client(caddytest.DialTCP(t, address), client)
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		_ = (<-ln.Conns).Close()
		if got, err := io.ReadAll(conn); err == nil {
			t.Errorf("got %q and a clean end", got)
		}
	})

	t.Run("no TLS spoken", func(t *testing.T) {
		tun := new(caddytest.Tunnel)
		address, logs := forwarding(t, tun, "git.internal:22", withTLS)
		conn := caddytest.DialTCP(t, address)
		_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.2\r\n")
		_, _ = io.Copy(io.Discard, conn)
		if got := tun.Dialed(); len(got) != 0 {
			t.Errorf("dialed %+v", got)
		}
		if logs.FilterMessage("TLS handshake failed").Len() != 1 {
			t.Errorf("logged %v", logs.All())
		}
	})
}

// TestForwardAfterPROXY: the originator is who the PROXY protocol says, and
// half-close works through a layer that does not know it.
func TestForwardAfterPROXY(t *testing.T) {
	ln := caddytest.ListenAndCount(t)
	tun := new(caddytest.Tunnel)
	address, _ := forwarding(t, tun, ln.Addr().String(), withPROXY)
	echo(t, ln)
	conn := caddytest.DialTCP(t, address)
	if _, err := io.WriteString(conn, "PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n"); err != nil {
		t.Fatal(err)
	}
	exchange(t, conn)
	if got := tun.Dialed(); len(got) != 1 || got[0].Originator != netip.MustParseAddrPort("192.0.2.1:7") {
		t.Errorf("dialed %+v", got)
	}
}

// TestForwardOutlivesListener: closing the listener, as a reload does, leaves
// connections alone; ending the process does not.
func TestForwardOutlivesListener(t *testing.T) {
	ln := caddytest.ListenAndCount(t)
	w := &ListenerWrapper{TunnelName: "prod", Target: ln.Addr().String()}
	tun := new(caddytest.Tunnel)
	if err := w.provision(zap.NewNop(), tun); err != nil {
		t.Fatal(err)
	}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wrapped := w.WrapListener(front)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := wrapped.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept returned %v", err)
		}
	}()
	conn := caddytest.DialTCP(t, front.Addr().String())
	upstream := <-ln.Conns
	defer upstream.Close()
	_ = wrapped.Close()
	<-ended

	buf := make([]byte, 4)
	for range 3 {
		_, _ = io.WriteString(conn, "ping")
		if _, err := io.ReadFull(upstream, buf); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(upstream, "pong")
		if _, err := io.ReadFull(conn, buf); err != nil {
			t.Fatal(err)
		}
	}

	rawconn.Open.End(0)
	t.Cleanup(func() { rawconn.Open = new(forward.Registry) }) // for the other tests
	for name, conn := range map[string]net.Conn{"client": conn, "target": upstream} {
		_ = conn.SetReadDeadline(time.Now().Add(sshtest.Patience))
		if _, err := conn.Read(buf); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the %s's connection is still open (%v)", name, err)
		}
	}
}

// exhaustedListener is out of files at first.
type exhaustedListener struct {
	net.Listener
	errors atomic.Int32
}

func (l *exhaustedListener) Accept() (net.Conn, error) {
	if l.errors.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

// TestAcceptErrors: temporary errors reach the HTTP server, which waits a
// little and accepts again.
func TestAcceptErrors(t *testing.T) {
	ln := caddytest.ListenAndCount(t)
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	exhausted := &exhaustedListener{Listener: front}
	exhausted.errors.Store(3)
	w := &ListenerWrapper{TunnelName: "prod", Target: ln.Addr().String()}
	if err := w.provision(zap.NewNop(), new(caddytest.Tunnel)); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: zap.NewStdLog(zap.NewNop())}
	served := make(chan error)
	go func() { served <- server.Serve(w.WrapListener(exhausted)) }()

	echo(t, ln)
	exchange(t, caddytest.DialTCP(t, front.Addr().String()))
	if err := server.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// TestHandOverToForwarding: where match is gone from the new configuration, all
// is forwarded.
func TestHandOverToForwarding(t *testing.T) {
	target := caddytest.ListenAndCount(t)
	wrap := func(ln net.Listener, target, matchers string) net.Listener {
		w := &ListenerWrapper{TunnelName: "prod", Target: target, owner: new(int)}
		if err := json.Unmarshal([]byte(matchers), &w.MatchersRaw); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		t.Cleanup(cancel)
		var err error
		if w.matchers, err = clienthello.LoadMatchers(ctx, w, "MatchersRaw", w.MatchersRaw); err != nil {
			t.Fatal(err)
		}
		if err := w.provision(zap.NewNop(), new(caddytest.Tunnel)); err != nil {
			t.Fatal(err)
		}
		return w.WrapListener(ln)
	}
	inner := caddytest.NewPipeListener()
	before := wrap(inner, "git.internal:443", `{"sni": ["git.example.com"]}`)
	go func() { _, _ = before.Accept() }() // it returns when the listener is closed
	conn := inner.Dial()
	defer conn.Close()
	after := wrap(caddytest.NewPipeListener(), target.Addr().String(), "null")
	defer after.Close()
	_ = before.Close()
	_, _ = io.WriteString(conn, "hello")
	caddytest.Expect(t, target.Conns, []byte("hello"))
}
