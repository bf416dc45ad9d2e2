package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// web.go is the private web server, and the network that only the bastion is
// on.

// memoryListener accepts connections from within this process alone: there is
// no port that anything else could connect to.
type memoryListener struct{ conns chan net.Conn }

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn)}
}

// dial connects to the listener.
func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-ctx.Done():
		_ = near.Close()
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener. It returns no error: nothing closes the
// listener before the process ends.
func (l *memoryListener) Accept() (net.Conn, error) { return <-l.conns, nil }

// Close implements net.Listener.
func (l *memoryListener) Close() error { return nil }

// Addr implements net.Listener.
func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

// memoryAddr is the address of what has none.
type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return webAddress }

// serveWeb is the private web server. It returns when the process ends.
func serveWeb(ln net.Listener, bastion *sshtest.Bastion) {
	server := http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = fmt.Fprint(w, page(r, bastion))
		}),
		ReadHeaderTimeout: time.Minute,
	}
	_ = server.Serve(ln)
}

// page says which way a request came.
func page(r *http.Request, bastion *sshtest.Bastion) string {
	var b strings.Builder
	b.WriteString("This page is from " + webAddress + ".\nThat server has no port: nothing but the bastion can reach it.\n\n")
	b.WriteString("The way of your request:\n\n")
	if client := r.Header.Get("X-Forwarded-For"); client != "" {
		fmt.Fprintf(&b, "    you            %s, who asked for http://%s%s\n", client, r.Host, r.URL.Path)
		b.WriteString("    Caddy          reverse_proxy, transport ssh_tunnel\n")
	} else {
		b.WriteString("    you\n    Caddy          listener wrapper ssh_tunnel: what you sent, untouched\n")
	}
	fmt.Fprintf(&b, "    SSH bastion    %s@%s\n", bastionUser, bastion.Addr())
	fmt.Fprintf(&b, "    here           %s\n\n", webAddress)

	stats := bastion.Stats()
	fmt.Fprintf(&b, "The bastion has seen %s and opened %s:\n\n", count(stats.Logins, "login"), count(stats.Opens, "channel"))
	opens := bastion.Opens()
	for _, open := range opens[max(0, len(opens)-10):] {
		fmt.Fprintf(&b, "    to %s, on behalf of %s\n", open.Address, open.Originator)
	}
	return b.String()
}

// count returns "1 login" or "2 logins".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
