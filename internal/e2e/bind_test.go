//go:build linux

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// bind_test.go serves sites from the bastion: Caddy is at home, and visitors come
// to the bastion's addresses.

// bound returns a Caddyfile: the tunnel prod, more global options and sites.
func (b *bastion) bound(global, sites string, options ...string) string {
	return fmt.Sprintf("{\ndebug\nskip_install_trust\nssh_tunnel {\n%s}\n%s\n}\n%s", b.tunnel("prod", options...), global, sites)
}

// curl returns a command that visits a site from inside.
func (b *bastion) curl(args ...string) *exec.Cmd {
	return b.netns.Command(program(b.t, "curl"), append([]string{"-sS", "--fail", "--noproxy", "*", "--max-time", "60"}, args...)...)
}

// curls waits until a site answers from inside, and returns what it says.
func (b *bastion) curls(args ...string) string {
	b.t.Helper()
	var out []byte
	sshtest.Eventually(b.t, patience, "curl "+strings.Join(args, " "), func() (ok bool) {
		var err error
		out, err = b.curl(args...).Output()
		return err == nil
	})
	return strings.TrimSpace(string(out))
}

// outside returns an address of the bastion as other hosts see it.
func (b *bastion) outside(port int) string { return fmt.Sprintf("%s:%d", b.netns.Addr(), port) }

// visitor is a client that comes from outside to one address whatever the URL.
func (b *bastion) visitor(port int, ca *sshtest.CA) *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", b.outside(port))
		},
		ForceAttemptHTTP2: true,
	}
	if ca != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: ca.Pool()}
	}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// dialOutside connects to a port of the bastion once that listens.
func (b *bastion) dialOutside(port int) net.Conn {
	b.t.Helper()
	var conn net.Conn
	sshtest.Eventually(b.t, patience, "the bastion listens", func() (ok bool) {
		var err error
		conn, err = net.Dial("tcp", b.outside(port))
		return err == nil
	})
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

const (
	anyPort = 8080 // of a site on all addresses of the bastion
	ownPort = 8081 // of one on its loopback
	tlsPort = 8443
)

// TestBindCurl visits sites of each kind of address, with TLS and without, and
// looks for the visitor's address.
func TestBindCurl(t *testing.T) {
	t.Parallel()
	const host = "site.example.com"
	b, ca := newEmptyBastion(t, "GatewayPorts clientspecified\n"), sshtest.NewCA()
	caFile := sshtest.WriteFile(t, "ca.pem", ca.PEM())
	socket := filepath.Join("/tmp", fmt.Sprintf("bind-%d.sock", time.Now().UnixNano())) // the bastion's user may write there
	c := startCaddy(t, func(*caddy) string {
		const page = "log\nrespond \"hello {client_ip}\"\n"
		return b.bound("", fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod ssh_tunnel/prod/unix/%s\n%s}\n", ownPort, socket, page)+
			fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod/0.0.0.0 ssh_tunnel/prod/::\n%s}\n", anyPort, page)+
			fmt.Sprintf("https://%s:%d {\nbind ssh_tunnel/prod\n%s%s}\n", host, tlsPort, certificate(t, ca, host), page))
	})
	for _, test := range []struct {
		args []string
		from string
	}{
		{[]string{fmt.Sprintf("http://localhost:%d", ownPort), "--interface", "127.0.0.5"}, "127.0.0.5"},
		{[]string{fmt.Sprintf("http://[::1]:%d", ownPort)}, "::1"},
		{[]string{fmt.Sprintf("http://127.0.0.1:%d", anyPort), "--interface", "127.0.0.6"}, "127.0.0.6"},
		{[]string{fmt.Sprintf("http://[::1]:%d", anyPort)}, "::1"},
		{[]string{fmt.Sprintf("http://%s", b.outside(anyPort))}, b.netns.Addr()},
		{[]string{
			fmt.Sprintf("https://%s:%d", host, tlsPort), "--interface", "127.0.0.7", "--cacert", caFile,
			"--resolve", fmt.Sprintf("%s:%d:127.0.0.1", host, tlsPort),
		}, "127.0.0.7"},
	} {
		if got, want := b.curls(test.args...), "hello "+test.from; got != want {
			t.Errorf("curl %v: got %q, want %q", test.args, got, want)
		}
		if !c.logged("handled request", "remote_ip:"+test.from+" ") {
			t.Errorf("the access log has no request from %s", test.from)
		}
	}
	if got := b.curls("--unix-socket", socket, "http://any"); !strings.HasPrefix(got, "hello") {
		t.Errorf("through the socket: got %q", got)
	}
	if _, err := net.DialTimeout("tcp", b.outside(ownPort), time.Second); err == nil {
		t.Error("other hosts reach what the bastion should listen on for itself alone")
	}
	if got := b.curls("-D", "-", "-o", "/dev/null", "--cacert", caFile, "--resolve", fmt.Sprintf("%s:%d:127.0.0.1", host, tlsPort),
		fmt.Sprintf("https://%s:%d", host, tlsPort)); strings.Contains(strings.ToLower(got), "alt-svc") || !strings.HasPrefix(got, "HTTP/2 200") {
		t.Errorf("over TLS: %s", got)
	}
}

// homeServer is the part of sshd_config that lets a bastion serve a site.
const homeServer = `Match User deploy
	AllowTcpForwarding remote
	GatewayPorts clientspecified
	PermitListen *:80 *:443
	ClientAliveInterval 15
	MaxSessions 0
`

// TestBindHomeServer has automatic HTTPS ask for its two ports, which are root's
// until the bastion says otherwise.
func TestBindHomeServer(t *testing.T) {
	t.Parallel()
	const host = "home.example.com"
	b, ca := newEmptyBastion(t, homeServer), sshtest.NewCA()
	lowest := func(port int) {
		t.Helper()
		output(t, b.netns.Command(program(t, "sysctl"), "-w", fmt.Sprintf("net.ipv4.ip_unprivileged_port_start=%d", port)))
	}
	lowest(1024)
	c := startCaddy(t, func(*caddy) string {
		return b.bound("", fmt.Sprintf("%s {\nbind ssh_tunnel/prod/*\n%srespond hello\n}\n", host, certificate(t, ca, host)))
	})
	for _, port := range []string{"*:80", "*:443"} {
		sshtest.Eventually(t, patience, "the log says why not "+port, func() bool {
			return c.logged("the bastion refuses a remote forward", "listen:"+port, "only root may listen on ports below 1024")
		})
	}
	if !c.logged("listening for automatic HTTPS's redirects as well", "listen:*:80") || c.logged("redirects as well", "listen:*:443") {
		t.Error("the log does not say what port 80 is for")
	}
	lowest(80)
	caFile := sshtest.WriteFile(t, "ca.pem", ca.PEM())
	for _, address := range []string{b.netns.Addr(), "127.0.0.1", "[::1]"} {
		at := func(port int) []string {
			return []string{"--cacert", caFile, "--resolve", fmt.Sprintf("%s:%d:%s", host, port, address)}
		}
		if got := b.curls(append(at(443), "https://"+host)...); got != "hello" {
			t.Errorf("at %s: got %q", address, got)
		}
		if got := b.curls(append(at(80), "-o", "/dev/null", "-w", "%{redirect_url}", "http://"+host+"/page")...); got != "https://"+host+"/page" {
			t.Errorf("at %s: redirected to %q", address, got)
		}
	}
}

// serverFirst is a WebSocket server that speaks before it is spoken to, and
// then sends back what it gets.
func serverFirst(t *testing.T) *httptest.Server {
	s := httptest.NewServer(websocket.Server{Handler: func(ws *websocket.Conn) {
		_, _ = io.WriteString(ws, "welcome")
		_, _ = io.Copy(ws, ws)
	}})
	t.Cleanup(s.Close)
	return s
}

// TestBindWebSocket opens WebSockets from outside.
func TestBindWebSocket(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "GatewayPorts clientspecified\n")
	server := serverFirst(t)
	startCaddy(t, func(*caddy) string {
		return b.bound("", fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod/*\nreverse_proxy %s\n}\n", anyPort, server.Listener.Addr()))
	})
	_ = b.dialOutside(anyPort).Close()
	for range 10 {
		ws, err := websocket.Dial(fmt.Sprintf("ws://%s/", b.outside(anyPort)), "", "http://home")
		if err != nil {
			t.Fatal(err)
		}
		_ = ws.SetDeadline(time.Now().Add(patience))
		got := make([]byte, len("welcome"))
		if _, err := io.ReadFull(ws, got); err != nil || string(got) != "welcome" {
			t.Fatalf("got %q, %v", got, err)
		}
		(&conn{ws, t}).exchange("thank you")
		_ = ws.Close()
	}
}

// TestBindSlowClients has Caddy's timeouts end connections, on a bastion's
// address as on one of its own.
func TestBindSlowClients(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "GatewayPorts clientspecified\n")
	c := startCaddy(t, func(c *caddy) string {
		return b.bound("servers {\ntimeouts {\nidle 1s\nread_header 2s\n}\n}",
			fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod/*\nrespond hello\n}\nhttp://:%d {\nbind 127.0.0.1\nrespond hello\n}\n", anyPort, c.port))
	})
	_ = b.dialOutside(anyPort).Close()
	for kind, address := range map[string]string{"bastion": b.outside(anyPort), "plain": local(c.port)} {
		t.Run(kind+" idle", func(t *testing.T) {
			conn := mustConnect(t, address)
			reader := bufio.NewReader(conn)
			var start time.Time
			for range 2 { // it is kept
				start = time.Now()
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: any\r\n\r\n")
				response, err := http.ReadResponse(reader, nil)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
			}
			if n, err := reader.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("an idle connection: %d bytes, %v", n, err)
			}
			if took := time.Since(start); took < time.Second {
				t.Errorf("it ended after %v", took)
			}
		})
		t.Run(kind+" slow", func(t *testing.T) {
			start := time.Now()
			conn := mustConnect(t, address)
			ended := make(chan struct{})
			// Returns when the server has ended the connection.
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, conn)
			}()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nX-Slow: ")
			for {
				select {
				case <-ended:
					if took := time.Since(start); took < 2*time.Second {
						t.Errorf("cut after %v", took)
					}
					return
				case <-time.After(time.Second):
					_, _ = io.WriteString(conn, "x")
					if time.Since(start) > 30*time.Second { // Caddy's own limit is a minute
						t.Fatal("never cut")
					}
				}
			}
		})
	}
}

// mustConnect connects to an address, until the test ends.
func mustConnect(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// TestBindBurst opens as many connections at once as may wait to be accepted,
// beside requests for an upstream through the same connection to the bastion.
func TestBindBurst(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "GatewayPorts clientspecified\n")
	c := startCaddy(t, func(c *caddy) string {
		return b.bound("", fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod/*\nrespond hello\n}\n", anyPort)+c.site(c.port, patient), "connections 1")
	})
	c.wantServed()
	_ = b.dialOutside(anyPort).Close()
	var burst []net.Conn
	for range 128 {
		burst = append(burst, mustConnect(t, b.outside(anyPort)))
	}
	for range 20 {
		if !c.serves() {
			t.Fatal("the upstream does not answer")
		}
	}
	for i, conn := range burst {
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
		if got, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(got), "hello") {
			t.Fatalf("connection %d: got %q, %v", i, got, err)
		}
	}
	c.wantLogins(b.SSHD, 1)
}

// TestBindCountsApart listens on one address here and on the bastion, in the same
// words. Each has its own max_connections.
func TestBindCountsApart(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", echo)
	c := startCaddy(t, func(c *caddy) string {
		return fmt.Sprintf("{\ndebug\nauto_https off\nssh_tunnel {\n%s}\nservers {\nlistener_wrappers {\nssh_tunnel prod echo.internal:7 {\nmax_connections 1\n}\n}\n}\n}\n"+
			"http://127.0.0.1:%d {\nbind 127.0.0.1 ssh_tunnel/prod/127.0.0.1\n}\n", b.tunnel("prod"), c.port)
	})
	sshtest.Eventually(t, patience, "the bastion listens", func() bool { return c.logged("remote forward established") })
	dialInside := func() net.Conn { return b.netns.Dial("tcp", local(c.port), patience) } // nil if it is refused at once
	dialHere := func() net.Conn {
		c, err := net.DialTimeout("tcp", local(c.port), patience)
		if err != nil {
			return nil
		}
		return c
	}
	for where, dial := range map[string]func() net.Conn{"here": dialHere, "on the bastion": dialInside} {
		first := dial()
		if first == nil {
			t.Fatalf("no connection %s", where)
		}
		defer first.Close()
		(&conn{first, t}).exchange("hello")
		one := dial()
		if one == nil {
			continue // reset before it was there
		}
		defer one.Close()
		_ = one.SetDeadline(time.Now().Add(patience))
		if n, err := one.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("one too many %s: %d bytes, %v", where, n, err)
		}
	}
}
