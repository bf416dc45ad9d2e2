package clienthello

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// matching wraps a listener, which forwards the connections that match to a
// target.
func matching(t *testing.T, ln net.Listener, tun dialer.Dialer, target, matchers string) net.Listener {
	t.Helper()
	return matchingFor(t, nil, ln, tun, target, matchers)
}

// matchingFor is matching, for a configuration.
func matchingFor(t *testing.T, owner any, ln net.Listener, tun dialer.Dialer, target, matchers string) net.Listener {
	t.Helper()
	var module struct {
		MatchersRaw caddy.ModuleMap `caddy:"namespace=tls.handshake_match"`
	}
	if err := json.Unmarshal([]byte(matchers), &module.MatchersRaw); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	ms, err := LoadMatchers(ctx, &module, "MatchersRaw", module.MatchersRaw)
	if err != nil {
		t.Fatal(err)
	}
	f := &forward.Forwarder{
		Dial:   dialer.For(tun, tunnel.Target{Network: "tcp", Address: target}),
		Target: target,
		Count:  new(forward.Count),
		Logger: zap.NewNop(),
	}
	return NewListener(ln, ms, owner, f.Forward, f.Logger)
}

const sniGit = `{"sni": ["git.example.com"]}`

// left collects what a listener does not forward. It ends when the listener is
// closed.
func left(t *testing.T, ln net.Listener) <-chan net.Conn {
	t.Helper()
	conns := make(chan net.Conn, 2000)
	go func() {
		defer close(conns)
		for {
			conn, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Errorf("Accept: %v", err)
				return
			}
			conns <- conn
		}
	}()
	return conns
}

// TestMatch sends connections this way and that.
func TestMatch(t *testing.T) {
	for name, tt := range map[string]struct {
		matchers string
		say      []byte
		forward  bool
	}{
		"name":            {sniGit, caddytest.HelloTo(t, "git.example.com"), true},
		"wildcard":        {`{"sni": ["*.example.com"]}`, caddytest.HelloTo(t, "git.example.com"), true},
		"other name":      {sniGit, caddytest.HelloTo(t, "www.example.com"), false},
		"no name":         {sniGit, caddytest.HelloTo(t, "127.0.0.1"), false},
		"regexp":          {`{"sni_regexp": {"pattern": "^g.t\\."}}`, caddytest.HelloTo(t, "git.example.com"), true},
		"remote":          {`{"remote_ip": {"ranges": ["127.0.0.0/8"]}}`, caddytest.HelloTo(t, "git.example.com"), true},
		"other remote":    {`{"remote_ip": {"ranges": ["192.0.2.0/24"]}}`, caddytest.HelloTo(t, "git.example.com"), false},
		"local":           {`{"local_ip": {"ranges": ["127.0.0.1"]}}`, caddytest.HelloTo(t, "git.example.com"), true},
		"one of both":     {`{"sni": ["git.example.com"], "remote_ip": {"ranges": ["192.0.2.0/24"]}}`, caddytest.HelloTo(t, "git.example.com"), false},
		"both":            {`{"sni": ["git.example.com"], "remote_ip": {"ranges": ["127.0.0.1"]}}`, caddytest.HelloTo(t, "git.example.com"), true},
		"not":             {`{"not": [{"sni": ["www.example.com"]}]}`, caddytest.HelloTo(t, "git.example.com"), true},
		"no TLS":          {`{"remote_ip": {"ranges": ["127.0.0.0/8"]}}`, []byte("GET / HTTP/1.1\r\n\r\n"), false},
		"in many records": {sniGit, caddytest.InRecords(caddytest.HelloTo(t, "git.example.com"), 11), true},
	} {
		t.Run(name, func(t *testing.T) {
			target := caddytest.ListenAndCount(t)
			ln := matching(t, caddytest.Loopback(t), new(caddytest.Tunnel), target.Addr().String(), tt.matchers)
			passed := left(t, ln)
			conn := caddytest.DialTCP(t, ln.Addr().String())
			if _, err := conn.Write(tt.say); err != nil {
				t.Fatal(err)
			}
			conns := passed
			if tt.forward {
				conns = target.Conns
			}
			server := caddytest.Expect(t, conns, tt.say)
			// The way back, and a half-close of it.
			_, _ = io.WriteString(server, "hello")
			if err := server.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
				t.Errorf("got %q back (%v)", got, err)
			}
			_ = ln.Close()
		})
	}
}

// TestMatchHoldsUpNobody has a thousand clients say nothing, or almost: others
// are served meanwhile.
func TestMatchHoldsUpNobody(t *testing.T) {
	hello := caddytest.HelloTo(t, "git.example.com")
	target := caddytest.ListenAndCount(t)
	ln := matching(t, caddytest.Loopback(t), new(caddytest.Tunnel), target.Addr().String(), sniGit)
	passed := left(t, ln)
	defer ln.Close()
	for i := range 1000 {
		conn := caddytest.DialTCP(t, ln.Addr().String())
		_, _ = conn.Write(hello[:i%20])
	}
	_, _ = caddytest.DialTCP(t, ln.Addr().String()).Write(hello)
	caddytest.Expect(t, target.Conns, hello)
	_, _ = caddytest.DialTCP(t, ln.Addr().String()).Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	caddytest.Expect(t, passed, []byte("GET / HTTP/1.1\r\n\r\n")) // the first to be passed on
}

// TestMatchAcrossClose closes the listener, as a reload does, while clients are
// in the middle of their ClientHello: each gets where it is meant to, and then
// nothing stays.
func TestMatchAcrossClose(t *testing.T) {
	running := goleak.IgnoreCurrent()
	git, www := caddytest.HelloTo(t, "git.example.com"), caddytest.HelloTo(t, "www.example.com")
	target := caddytest.ListenAndCount(t)
	ln := matching(t, caddytest.Loopback(t), new(caddytest.Tunnel), target.Addr().String(), sniGit)
	passed := left(t, ln)
	var clients []*net.TCPConn
	for _, hello := range [][]byte{git, www} {
		conn := caddytest.DialTCP(t, ln.Addr().String())
		_, _ = conn.Write(hello[:100])
		clients = append(clients, conn)
	}
	time.Sleep(100 * time.Millisecond) // they are accepted
	for range 2 {
		_ = ln.Close()
	}
	time.Sleep(100 * time.Millisecond)
	_, _ = clients[0].Write(git[100:])
	_, _ = clients[1].Write(www[100:])
	forwarded, served := caddytest.Expect(t, target.Conns, git), caddytest.Expect(t, passed, www)
	if _, open := <-passed; open {
		t.Error("more than one connection was left")
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the last, Accept returns %v", err)
	}
	for _, conn := range []io.Closer{clients[0], clients[1], forwarded, served, target} {
		_ = conn.Close()
	}
	goleak.VerifyNone(t, running)
}

// TestMatchEnds: what is in the middle of a match when the listener is closed
// has a while, and is then passed on as it is.
func TestMatchEnds(t *testing.T) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"before TLS": func(ln net.Listener) net.Listener { return ln },
		"after TLS": func(ln net.Listener) net.Listener {
			return tls.NewListener(ln, &tls.Config{Certificates: make([]tls.Certificate, 1)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := caddytest.NewPipeListener()
				ln := matching(t, wrap(inner), new(caddytest.Tunnel), "git.internal:443", sniGit)
				passed := left(t, ln)
				defer inner.Dial().Close()
				defer inner.Dial().Close()
				time.Sleep(helloTimeout - time.Millisecond)
				_ = ln.Close()
				start, n := time.Now(), 0
				for conn := range passed {
					_ = conn.Close()
					n++
				}
				if took := time.Since(start); n != 2 || took > closedMatchTimeout {
					t.Errorf("%d connections were passed on within %s", n, took)
				}
			})
		})
	}
}

// TestMatchAbandoned: should nobody accept what is passed on, it is closed, and
// no goroutine stays: the bubble would not end.
func TestMatchAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := caddytest.NewPipeListener()
		ln := matching(t, inner, new(caddytest.Tunnel), "git.internal:443", sniGit)
		go func() {
			conn, err := ln.Accept() // one only
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
		}()
		_, _ = io.WriteString(inner.Dial(), "GET ")
		synctest.Wait() // that is the one
		conn := inner.Dial()
		_, _ = io.WriteString(conn, "GET ")
		_ = ln.Close()
		start := time.Now()
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection ends with %v", err)
		}
		if took := time.Since(start); took > closedMatchTimeout+abandonedTimeout {
			t.Errorf("took %s", took)
		}
		synctest.Wait()
	})
}

// TestMatchAcceptErrors: a temporary error of the listener reaches the server,
// which sets the pace; a lasting one comes last.
func TestMatchAcceptErrors(t *testing.T) {
	inner := caddytest.NewPipeListener()
	ln := matching(t, inner, new(caddytest.Tunnel), "git.internal:443", sniGit)
	exhausted := &net.OpError{Op: "accept", Err: syscall.EMFILE}
	broken := errors.New("broken")
	go func() {
		inner.Conns <- exhausted
		conn := inner.Dial()
		inner.Conns <- broken
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
		_ = conn.Close()
	}()
	if _, err := ln.Accept(); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("the first Accept returns %v", err)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	for range 2 {
		if _, err := ln.Accept(); err != broken { //nolint:errorlint // it is this one
			t.Errorf("at the end, Accept returns %v", err)
		}
	}
}
