//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// hangs starts a web server that answers no request, but tells of each. It returns
// its address.
func hangs(t *testing.T) (address string, asked <-chan struct{}) {
	requests, over := make(chan struct{}, 10), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requests <- struct{}{}
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(over) })
	return s.Listener.Addr().String(), requests
}

// TestExitGrace ends Caddy while a request waits for its response and a raw
// connection is open. Both have the same time, and not one after the other: Caddy
// stops the apps in an order of chance, so it is tried some times.
func TestExitGrace(t *testing.T) {
	t.Parallel()
	const (
		grace     = 10 * time.Second // two waits in a row take twice as long
		byDefault = 3 * time.Second
	)
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", echo)
	for _, test := range []struct {
		name, global, tunnel string
		site                 bool
		times                int
	}{
		{"site and forward", fmt.Sprintf("grace_period %v\n", grace), "", true, 6},
		{"site without grace_period", "", fmt.Sprintf("grace_period %v\n", grace), false, 1},
		{"forward alone", "", fmt.Sprintf("grace_period %v\n", grace), false, 1},
		{"forward alone by default", "", "", false, 1},
	} {
		for i := range test.times {
			t.Run(fmt.Sprintf("%s %d", test.name, i), func(t *testing.T) {
				t.Parallel()
				port := sshtest.NewPort(t)
				slow, asked := hangs(t)
				c := startCaddy(t, func(c *caddy) string {
					config := fmt.Sprintf("{\ndebug\nauto_https off\n%sssh_tunnel {\n%s%s}\n}\n", test.global, test.tunnel,
						b.tunnel("prod", fmt.Sprintf("local_forward %s 127.0.0.1:7", local(port))))
					if test.site || strings.HasPrefix(test.name, "site") {
						config += c.site(c.port, "reverse_proxy "+slow)
					}
					return config
				})
				conn := dialRaw(t, port)
				conn.exchange("hello")
				if test.site {
					request, err := net.Dial("tcp", local(c.port))
					if err != nil {
						t.Fatal(err)
					}
					defer request.Close()
					_, _ = fmt.Fprintf(request, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
					select {
					case <-asked:
					case <-time.After(patience):
						t.Fatal("no request comes")
					}
				}
				_ = c.cmd.Process.Signal(syscall.SIGTERM)
				sshtest.Eventually(t, patience, "the forward listens no more", func() bool {
					another, err := net.Dial("tcp", local(port))
					if err == nil {
						_ = another.Close()
					}
					return err != nil
				})
				least := byDefault
				if test.global+test.tunnel != "" {
					least = grace
					conn.exchange("still there")
				}
				_ = conn.SetDeadline(time.Now().Add(patience))
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("the connection ends with %v", err)
				}
				c.waitExit(patience)
				took := c.loggedAt("shutdown complete").Sub(c.loggedAt("shutting down apps, then terminating"))
				t.Logf("the apps ended after %v", took)
				if took < least*9/10 || took >= 2*grace {
					t.Errorf("the apps ended after %v, with a grace period of %v", took, least)
				}
			})
		}
	}
}

// TestExitIdle ends Caddy while nothing is open: it does not wait.
func TestExitIdle(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", echo)
	port := sshtest.NewPort(t)
	c := startCaddy(t, func(*caddy) string {
		return fmt.Sprintf("{\nssh_tunnel {\ngrace_period 1h\n%s}\n}\n", b.tunnel("prod", fmt.Sprintf("local_forward %s 127.0.0.1:7", local(port))))
	})
	conn := dialRaw(t, port)
	conn.exchange("hello")
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	sshtest.Eventually(t, patience, "Caddy exits", func() bool { return c.logged("exiting; byeee!!") })
	conn.exchange("goodbye")
	_ = conn.Close()
	c.waitExit(patience)
}
