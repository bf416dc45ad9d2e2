//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// permit_proxy_test.go has clients try to choose where an HTTP proxy behind the
// bastion goes, and harm one another with requests that are denied.

// tinyproxy starts an HTTP proxy in the bastion's network. It returns a function
// that returns its log.
func (b *bastion) tinyproxy(port int) (log func() string) {
	b.t.Helper()
	program(b.t, "tinyproxy")
	file := sshtest.WriteFile(b.t, "tinyproxy.conf", fmt.Appendf(nil, "Listen 127.0.0.1\nPort %d\nTimeout 60\nLogLevel Info\n", port))
	_ = os.Chmod(filepath.Dir(file), 0o755) // tinyproxy reads it as another user
	out, err := os.Create(filepath.Join(b.t.TempDir(), "log"))
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := b.netns.Command("tinyproxy", "-d", "-c", file)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
	})
	log = func() string {
		content, err := os.ReadFile(out.Name())
		if err != nil {
			b.t.Fatal(err)
		}
		return string(content)
	}
	sshtest.Eventually(b.t, patience, "tinyproxy listens", func() bool { return strings.Contains(log(), "Accepting connections") })
	return log
}

// TestProxyGoesToTheUpstream: whatever clients send, tinyproxy connects to the
// upstream.
func TestProxyGoesToTheUpstream(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	secret := sshtest.NewWeb(t, sshtest.WebOptions{Name: "secret", Listener: b.netns.Listen("tcp", "127.0.0.2:80")})
	log := b.tinyproxy(3128)
	c := startCaddy(t, func(c *caddy) string {
		const via = " {\ntransport ssh_tunnel %s {\nnetwork_proxy url http://127.0.0.1:3128\n}\n}\n}\n"
		site := "handle /static/* {\nuri strip_prefix /static\nreverse_proxy web.internal:80" + fmt.Sprintf(via, "any") +
			"handle {\nuri path_regexp ^/bare/ \"\"\nreverse_proxy {header.To}:80" + fmt.Sprintf(via, "prod")
		tunnels := b.tunnel("prod", "permit_open 127.0.0.1:3128 127.0.0.1:80") + b.tunnel("any")
		return strings.Replace(c.caddyfile(tunnels, "", site), "http://127.0.0.1:", "http://:", 1) // for any Host
	})
	ask := func(line, host, to string) (status int, server string) {
		t.Helper()
		conn, err := net.DialTimeout("tcp", local(c.port), patience)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nTo: %s\r\nConnection: close\r\n\r\n", line, host, to)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := bufio.NewReader(response.Body).ReadString('\n')
		return response.StatusCode, body
	}
	for _, to := range []string{"127.0.0.1", "127.1", "0177.0.0.1", "[::ffff:127.0.0.1]"} {
		for _, line := range []string{"GET /hello", "GET http://127.0.0.2/hello", "GET /static/hello"} {
			if status, body := ask(line, "127.0.0.2", to); status != http.StatusOK || strings.Contains(body, "secret") {
				t.Errorf("%s to %s: %d %q", line, to, status, body)
			}
		}
	}
	for _, line := range []string{"GET a:http://127.0.0.2/hello", "GET http:127.0.0.2/hello", "GET /bare/@127.0.0.2/hello", "CONNECT 127.0.0.2:80"} {
		ask(line, "127.0.0.2:80", "127.0.0.1") // whatever it answers
	}
	for _, to := range []string{"127.0.0.2", "127.2", "127.0.0.2/", "localhost"} {
		if status, body := ask("GET /hello", "127.0.0.1", to); status != http.StatusForbidden {
			t.Errorf("to %s: %d %q", to, status, body)
		}
	}
	if secret.Accepted() != 0 {
		t.Error("what is not permitted was reached")
	}
	asked := 0
	for line := range strings.Lines(log()) {
		_, request, ok := strings.Cut(line, "Request (file descriptor ")
		if !ok {
			continue
		}
		asked++
		if !strings.Contains(request, " http://127.0.0.1:80/") && !strings.Contains(request, " http://web.internal:80/") {
			t.Errorf("the proxy was asked: %s", request)
		}
	}
	if asked < 12 {
		t.Errorf("the proxy was asked %d times:\n%s", asked, log())
	}
}

// TestDenialHarmsNobody: clients who ask for what is not permitted get their answer
// at once, and nobody else notices.
func TestDenialHarmsNobody(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod", "permit_open web.internal:80"), "",
			"reverse_proxy {header.To}:80 {\ntransport ssh_tunnel prod\nlb_try_duration 1h\nlb_retries 100000\nfail_duration 1h\nunhealthy_status 4xx\n}\n"+
				"handle_errors {\nrespond \"{err.status_code}: {err.message}\"\n}\n")
	})
	ask := func(method, to string) answer {
		return c.do(method, "/hello", nil, func(r *http.Request) { r.Header.Set("To", to) })
	}
	for range 3 {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if a := ask(method, "127.0.0.1"); a.status != http.StatusForbidden || a.body != `403: tunnel "prod": target "127.0.0.1:80" is not permitted by permit_open` {
				t.Errorf("%s: %v", method, a)
			}
		}
	}
	if a := ask(http.MethodGet, "web.internal"); a.status != http.StatusOK {
		t.Errorf("what is permitted: %v", a)
	}
}
