//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// plugin_test.go runs a plugin of somebody else, which dials through tunnels: the one in
// testdata/banner. xcaddy has built it, as for users, and for that needs the module proxy,
// which the tests' own network does not reach. .ci/run builds it; so do, and run the test:
//
//	xcaddy build --with github.com/caddy-ssh-tunnel/caddy-ssh-tunnel@v0.0.0=. \
//		--with example.com/banner@v0.0.0=./internal/e2e/testdata/banner --output /tmp/caddy
//	CADDY_WITH_BANNER=/tmp/caddy go test -run TestPluginDials ./internal/e2e

// withBanner returns the path of Caddy with this module and the plugin.
func withBanner(t *testing.T) string {
	t.Helper()
	sshtest.Needs(t, "Caddy with the plugin in testdata/banner")
	path := os.Getenv("CADDY_WITH_BANNER")
	if path == "" {
		sshtest.Missing(t, "CADDY_WITH_BANNER is not the path of a Caddy with testdata/banner (plugin_test.go says how to build it)")
	}
	return path
}

// TestPluginDials runs a plugin that dials through tunnels by the Go API: what it gets when
// that works, and when it does not; and through a reload.
func TestPluginDials(t *testing.T) {
	t.Parallel()
	program := withBanner(t)
	b := newBastion(t, "PermitOpen web.internal:25 web.internal:26 web.internal:27\n")
	b.serveTCP("127.0.0.1:25", func(c *net.TCPConn) { _, _ = io.WriteString(c, "220 mail.internal\r\nand more") })
	greet, greeted := make(chan string), make(chan struct{}, 1)
	b.serveTCP("127.0.0.1:26", func(c *net.TCPConn) {
		greeted <- struct{}{}
		_, _ = io.WriteString(c, <-greet)
	})

	c := newCaddy(t)
	c.program = program
	tunnels := b.tunnel("prod") + b.tunnel("limited", "lazy", "permit_open web.internal:25") +
		b.tunnelTo("down", fmt.Sprintf("deploy@127.0.0.1:%d", sshtest.NewPort(t)), "identity_file "+b.key)
	config := func(n int) string {
		site := fmt.Sprintf("header X-Config %d\n", n)
		for path, plugin := range map[string]string{
			"open": "prod web.internal:25", "late": "prod web.internal:26", "refused": "prod web.internal:27",
			"prohibited": "prod web.internal:28", "denied": "limited web.internal:26", "down": "down web.internal:25",
		} {
			site += fmt.Sprintf("route /%s {\nbanner %s\n}\n", path, plugin)
		}
		return c.caddyfile(tunnels, "", site)
	}
	c.start(config(1))

	wantBanner := func(config int) {
		t.Helper()
		if a := c.get("/open"); a.status != http.StatusOK || a.body != "220 mail.internal\r\n" || a.header.Get("X-Config") != strconv.Itoa(config) {
			t.Errorf("configuration %d: %v", config, a)
		}
	}
	wantBanner(1)
	for path, want := range map[string]struct {
		status int
		says   string
	}{
		"/refused":    {http.StatusBadGateway, "dial tcp web.internal:27: tunnel \"prod\": opening channel to \"web.internal:27\": connection refused (nothing listens there"},
		"/prohibited": {http.StatusBadGateway, "administratively prohibited (AllowTcpForwarding or PermitOpen on the bastion"},
		"/denied":     {http.StatusBadGateway, "target \"web.internal:26\" is not permitted by permit_open"},
		"/down":       {http.StatusServiceUnavailable, "tunnel \"down\" is down: "},
	} {
		if a := c.get(path); a.status != want.status || !c.logged("http.log.error", want.says) {
			t.Errorf("%s: %v, or the log does not have %q", path, a, want.says)
		} else if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); path == "/down" && (err != nil || seconds < 1) {
			t.Errorf("%s: Retry-After is %q", path, a.header.Get("Retry-After"))
		}
	}

	// A request that dialed before the reload is answered after it, on the same connection.
	late := make(chan answer)
	go func() { late <- c.get("/late") }()
	<-greeted
	c.reload(config(2))
	wantBanner(2)
	greet <- "220 late\r\n"
	if a := <-late; a.status != http.StatusOK || a.body != "220 late\r\n" || a.header.Get("X-Config") != "1" {
		t.Errorf("a request during the reload: %v", a)
	}
	c.wantLogins(b.SSHD, 1) // limited is lazy, and what it denies needs no connection

	if err := c.load(strings.Replace(config(3), "banner prod", "banner prdo", 1)); err == nil || !strings.Contains(err.Error(), "; configured: down, limited, prod") {
		t.Errorf("an unknown tunnel: %v", err)
	}
}
