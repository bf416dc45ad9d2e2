package clienthello

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// stateConn is a TLS connection as another wrapper may have wrapped it.
type stateConn struct {
	net.Conn
	tls *tls.Conn
}

func (c stateConn) NetConn() net.Conn { return c.tls }

// TestMatchAfterTLS matches by the connection's state, whichever layer knows
// it.
func TestMatchAfterTLS(t *testing.T) {
	ca := sshtest.NewCA()
	config := &tls.Config{
		Certificates: []tls.Certificate{ca.Issue("git.example.com", "www.example.com")},
		NextProtos:   []string{"h2", "http/1.1"},
	}
	for name, tt := range map[string]struct {
		wrap func(net.Conn) net.Conn
		h2   bool
	}{
		"TLS":         {wrap: func(c net.Conn) net.Conn { return c }, h2: true},
		"wrapped TLS": {wrap: func(c net.Conn) net.Conn { return stateConn{c, c.(*tls.Conn)} }},
	} {
		t.Run(name, func(t *testing.T) {
			target := caddytest.ListenAndCount(t)
			front := &wrappingListener{tls.NewListener(caddytest.Loopback(t), config), tt.wrap}
			ln := matching(t, front, new(caddytest.Tunnel), target.Addr().String(), sniGit)
			passed := left(t, ln)
			defer ln.Close()
			dial := func(name string) *tls.Conn {
				conn := tls.Client(caddytest.DialTCP(t, ln.Addr().String()), &tls.Config{RootCAs: ca.Pool(), ServerName: name, NextProtos: config.NextProtos})
				if _, err := io.WriteString(conn, "hello"); err != nil {
					t.Fatal(err)
				}
				return conn
			}
			dial("git.example.com")
			caddytest.Expect(t, target.Conns, []byte("hello"))
			dial("www.example.com")
			conn := caddytest.Expect(t, passed, []byte("hello"))
			if c, ok := conn.(*tls.Conn); ok != tt.h2 || ok && c.ConnectionState().NegotiatedProtocol != "h2" {
				t.Errorf("what is passed on is %T", conn)
			}
		})
	}
}

// wrappingListener wraps what it accepts.
type wrappingListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l *wrappingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(conn), nil
}

// TestMatchAfterTLSNoTLS: who speaks HTTP to a TLS port still gets Caddy's answer.
func TestMatchAfterTLSNoTLS(t *testing.T) {
	front := tls.NewListener(caddytest.Loopback(t), &tls.Config{Certificates: []tls.Certificate{sshtest.NewCA().Issue("a")}})
	ln := matching(t, front, new(caddytest.Tunnel), "git.internal:443", sniGit)
	server := &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: zap.NewStdLog(zap.NewNop())}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	conn := caddytest.DialTCP(t, ln.Addr().String())
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusBadRequest {
		t.Errorf("got %v (%v)", res, err)
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
