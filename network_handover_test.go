package sshtunnel

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/bind"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// boundSite returns a site on the bastion that says which configuration it is.
func boundSite(port string, n int) string {
	return fmt.Sprintf("http://:%s {\nbind ssh_tunnel/prod\nrespond \"config {http.request.host} %d\"\n}\n", port, n)
}

// ask sends a request and returns what comes.
func ask(conn net.Conn) string {
	_ = conn.SetDeadline(time.Now().Add(sshtest.Patience))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
	got, err := io.ReadAll(conn)
	if err != nil {
		return err.Error()
	}
	_, body, _ := strings.Cut(string(got), "\r\n\r\n")
	return body
}

// TestBindReloadUnread: connections that have sent nothing yet when a reload comes,
// or several, are served by the configuration that is in force when they do.
func TestBindReloadUnread(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", nil)
	port := freePortText(t)
	startBind(t, tunnel(b.Addr()), "admin off", boundSite(port, 0))
	dial := to("tcp", "127.0.0.1:"+port)
	wantVisit(t, dial, "http://any", http.StatusOK)
	var conns []net.Conn
	for range 20 {
		conn, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	sshtest.Eventually(t, 10*time.Second, "all are accepted", func() bool {
		accepted := 0
		for _, b := range bind.Open() {
			accepted += b.Unread
		}
		return accepted == len(conns)
	})
	for n := 1; n <= 2; n++ {
		loadBind(t, tunnel(b.Addr()), "admin off", boundSite(port, n))
		bad := bindConfig(t, tunnel(b.Addr()), "admin off", boundSite(port, 100)+"http://192.0.2.1:1 {\nbind 192.0.2.1\nrespond no\n}\n")
		if err := caddy.Load(bad, true); err == nil {
			t.Fatal("a configuration that cannot listen was loaded")
		}
	}
	// Caddy stops the old servers in the background. What is sent to one while it
	// shuts down is lost, on any listener.
	sshtest.Eventually(t, 10*time.Second, "the newest configuration has all connections", func() bool {
		open := bind.Open()
		return len(open) == 1 && open[0].Unread == len(conns)
	})
	for i, conn := range conns {
		if got := ask(conn); got != "config any 2" {
			t.Errorf("connection %d: got %q", i, got)
		}
	}
}

// TestBindReloadChanged loads a configuration whose tunnel is another one, of which
// the bastion does not answer yet. Loading does not wait for it, for however many
// sites: the old tunnel serves the new configuration, until the new one is
// connected.
func TestBindReloadChanged(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", nil)
	link := sshtest.NewLink(t, b.Addr())
	ports := make([]string, 12)
	sites := func(n int) (all string) {
		for i := range ports {
			if ports[i] == "" {
				ports[i] = freePortText(t)
			}
			all += boundSite(ports[i], n)
		}
		return all
	}
	visit := func(n int) {
		t.Helper()
		for _, port := range ports {
			sshtest.Eventually(t, 10*time.Second, fmt.Sprintf("configuration %d serves port %s", n, port), func() bool {
				got := visitSite(t, to("tcp", "127.0.0.1:"+port), "http://any").body
				return strings.HasSuffix(got, fmt.Sprintf("config any %d", n))
			})
		}
	}
	startBind(t, tunnel(b.Addr()), "admin off", sites(0))
	visit(0)
	logins := b.Stats().Logins

	link.Freeze(sshtest.Both)
	loaded := time.Now()
	loadBind(t, tunnel(link.Addr()), "admin off", sites(1))
	t.Logf("loaded after %v", time.Since(loaded))
	visit(1)
	if got := b.Stats().Logins; got != logins {
		t.Fatalf("the new tunnel is connected: %d logins", got)
	}
	requests := b.Stats().ForwardRequests

	link.Thaw(sshtest.Both)
	sshtest.Eventually(t, 20*time.Second, "the new tunnel listens", func() bool {
		return b.Stats().ForwardRequests >= requests+len(ports)
	})
	visit(1)
}
