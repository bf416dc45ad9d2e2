//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// resolver_test.go has clients ask for names that the bastion's resolver never answers
// for. sshd serves nothing else on a connection while it looks one up: ten seconds.

// newUnresolvingBastion starts a bastion whose resolver answers nothing. It knows
// web.internal and echo.internal without that.
func newUnresolvingBastion(t *testing.T) *bastion {
	t.Helper()
	netns := sshtest.NewNetns(t)
	netns.SetResolver("127.0.0.53")
	netns.ListenPacket("udp", "127.0.0.53:53") // and nobody reads
	b := newBastionIn(t, netns, "")
	b.web = sshtest.NewWeb(t, sshtest.WebOptions{Listener: netns.Listen("tcp", "127.0.0.1:80")})
	b.serveTCP("127.0.0.1:7", echo)
	return b
}

// askForDeadNames has clients of the SOCKS port and of the site /to ask for names, each
// for another one, until the returned function is called.
func (c *caddy) askForDeadNames(socks int) (stop func()) {
	done := make(chan struct{})
	var asking sync.WaitGroup
	ask := func(every time.Duration, one func(n int)) {
		asking.Go(func() {
			for n := 0; ; n++ {
				asking.Go(func() { one(n) })
				select {
				case <-done:
					return
				case <-time.After(every):
				}
			}
		})
	}
	ask(time.Second, func(n int) {
		_ = exec.Command("curl", "-s", "--max-time", "5", "--socks5-hostname", local(socks), fmt.Sprintf("http://socks%d.dead.example/", n)).Run()
	})
	ask(time.Second, func(n int) {
		c.do(http.MethodGet, "/to", nil, func(r *http.Request) { r.Header.Set("To", fmt.Sprintf("request%d.dead.example", n)) })
	})
	return func() {
		close(done)
		asking.Wait()
	}
}

// TestDeadResolver: clients that ask for names which the bastion looks up for ten
// seconds cut nothing off that others have open, and other sites are answered.
func TestDeadResolver(t *testing.T) {
	// With one connection all share what there is, until it has stalled.
	for connections, asked := range map[string]time.Duration{"1 8": 14 * time.Second, "1": 2 * time.Second} {
		t.Run("connections "+connections, func(t *testing.T) {
			t.Parallel()
			b := newUnresolvingBastion(t)
			socks, raw := sshtest.NewPort(t), sshtest.NewPort(t)
			c := startCaddy(t, func(c *caddy) string {
				tunnel := b.tunnel("prod", "connections "+connections,
					"permit_open *.dead.example:80 web.internal:80 echo.internal:7",
					fmt.Sprintf("dynamic_forward %d", socks), fmt.Sprintf("local_forward %d echo.internal:7", raw))
				return c.caddyfile(tunnel, "", "handle /to {\nreverse_proxy {header.To}:80 {\ntransport ssh_tunnel prod\n}\n}\nhandle {\n"+patient+"\n}\n")
			})
			c.wantServed()
			ws, tcp := c.websocket(), dialRaw(t, raw)
			ws.exchange("hello")
			tcp.exchange("hello")
			download := c.download("/size/500000?chunk=5000&every=150ms") // 15 s

			stop := c.askForDeadNames(socks)
			exclusive := connections != "1"
			served := 0
			for start := time.Now(); time.Since(start) < asked; time.Sleep(250 * time.Millisecond) {
				a := c.get("/hello")
				if exclusive && a.status != http.StatusOK {
					t.Errorf("another site, %s after the first dead name: %v", time.Since(start).Round(time.Millisecond), a)
				}
				if exclusive {
					tcp.exchange("still there")
				}
				served++
			}
			stop()
			if exclusive && served < 4 { // a name takes ten seconds
				t.Errorf("another site was served %d times in %v", served, asked)
			}
			if n, err := download(); n != 500000 || err != nil {
				t.Errorf("the download: %d bytes, %v", n, err)
			}
			for _, open := range []*conn{ws, tcp} {
				open.exchange("goodbye")
			}
			if strings.Contains(c.log(), `"msg":"connection lost`) {
				t.Error("a connection was lost")
			}
			c.wantServed()
		})
	}
}

// TestDeadNameOfTheConfiguration: a name of the configuration that the bastion looks up
// for ten seconds stalls the connection of the other sites once, and not each time that
// a client asks for it.
func TestDeadNameOfTheConfiguration(t *testing.T) {
	t.Parallel()
	b := newUnresolvingBastion(t)
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod"), "", "handle /dead {\nreverse_proxy dead.internal:80 {\ntransport ssh_tunnel prod\n}\n}\nhandle {\n"+patient+"\n}\n")
	})
	c.wantServed()
	if a := c.get("/dead"); a.status != http.StatusGatewayTimeout {
		t.Errorf("a name that is not looked up: %v", a)
	}
	sshtest.Eventually(t, patience, "the end of the stall", func() bool { return c.logged("connection responds again") })

	var asking sync.WaitGroup
	served := 0
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(500 * time.Millisecond) {
		asking.Go(func() { c.get("/dead") })
		if a := c.get("/hello"); a.status != http.StatusOK {
			t.Errorf("another site: %v", a)
		}
		served++
	}
	if served < 4 { // it takes ten seconds
		t.Errorf("another site was served %d times in 10s", served)
	}
	asking.Wait()
	c.wantServed()
}
