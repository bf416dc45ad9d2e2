//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// permit_test.go has clients choose where to go, of what permit_open permits
// and of what the bastion would reach besides.

func TestPermitOpen(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	secret := sshtest.NewWeb(t, sshtest.WebOptions{Name: "secret", Listener: b.netns.Listen("tcp", "127.0.0.2:80")})
	socks := sshtest.NewPort(t)
	const chosen = "handle {\nreverse_proxy {header.To}:80 {\ntransport ssh_tunnel prod\n}\n}\n"
	config := func(c *caddy, patterns string) string {
		// Without permit_open sshd goes wherever the client wants.
		anywhere := "handle /anywhere/* {\nuri strip_prefix /anywhere\nreverse_proxy 0x7f.2:80 {\ntransport ssh_tunnel any\n}\n}\n"
		return c.caddyfile(b.tunnel("prod", "connections 1", "permit_open "+patterns, fmt.Sprintf("dynamic_forward %d", socks))+b.tunnel("any"), "", anywhere+chosen)
	}
	c := startCaddy(t, func(c *caddy) string { return config(c, "web.internal:80 127.0.0.1:80") })
	ask := func(to string) answer {
		return c.do(http.MethodGet, "/hello", nil, func(r *http.Request) { r.Header.Set("To", to) })
	}
	permitted := []string{"web.internal", "WEB.Internal.", "127.0.0.1", "127.1", "0x7f.1", "017700000001", "2130706433", "[::ffff:127.0.0.1]"}
	denied := []string{"127.0.0.2", "0x7f.2", "017700000002", "2130706434", "127.2", "[::ffff:127.0.0.2]", "echo.internal", "localhost", "[::1]", "web.internal.example", "unix//run/web.sock"}
	if a := c.get("/anywhere/hello"); a.status != http.StatusOK || a.body != "hello from secret\n" {
		t.Fatalf("without permit_open: %v", a)
	}
	reached := secret.Accepted()
	for _, to := range permitted {
		if a := ask(to); a.status != http.StatusOK || strings.Contains(a.body, "secret") {
			t.Errorf("%s: %v", to, a)
		}
	}
	for _, to := range denied {
		if a := ask(to); a.status != http.StatusForbidden {
			t.Errorf("%s: %v", to, a)
		}
	}
	if !c.logged("http.log.error", `tunnel "prod": target "2130706434:80" is not permitted by permit_open`) {
		t.Error("the log does not say why")
	}

	curl := func(args ...string) *exec.Cmd {
		return client(t, "curl", append([]string{"-sS", "--fail", "--max-time", "60", "--socks5-hostname", local(socks)}, args...)...)
	}
	for _, to := range []string{"web.internal", "127.0.0.1"} {
		output(t, curl("http://"+to+"/hello"))
	}
	for _, to := range []string{"127.0.0.2", "echo.internal", "web.internal:81", "[::ffff:127.0.0.2]"} {
		fails(t, curl("http://"+to+"/hello"))
	}

	// A reload changes it at once, and leaves the connection alone.
	c.reload(config(c, "echo.internal:80"))
	c.client.CloseIdleConnections() // as the server that it was connected to does
	if a := ask("web.internal"); a.status != http.StatusForbidden {
		t.Errorf("after a reload that no longer permits it: %v", a)
	}
	if a := ask("echo.internal"); a.status != http.StatusOK {
		t.Errorf("after a reload that permits it: %v", a)
	}
	fails(t, curl("http://web.internal/hello"))
	if n := strings.Count(b.Log(), "Accepted publickey"); n != 2 {
		t.Errorf("%d connections were made, want one for each tunnel", n)
	}
	if secret.Accepted() != reached {
		t.Error("what is not permitted was reached")
	}
	if err := c.load(c.caddyfile(b.tunnel("prod", "permit_open echo.internal:80"), "", proxied)); err == nil || !strings.Contains(err.Error(), "not permitted by permit_open") {
		t.Errorf("an upstream that is not permitted: %v", err)
	}
}
