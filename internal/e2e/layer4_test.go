//go:build linux

package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// layer4_test.go tests the handler for caddy-l4, in a Caddy that has both.

const layer4Dir = "../../layer4"

// layer4Binary returns the path of Caddy with the Go module layer4.
var layer4Binary = buildOnce("caddy-l4", layer4Dir, raceFlag)

// newLayer4 prepares a Caddy with caddy-l4. It is built in the tests' own network, where
// modules that nobody has fetched cannot be.
func newLayer4(t *testing.T) *caddy {
	t.Helper()
	c := newCaddy(t)
	list := exec.Command("go", "-C", layer4Dir, "list", "-deps", "./cmd/caddy")
	list.Env = append(os.Environ(), "GOPROXY=off")
	if out, err := list.CombinedOutput(); err != nil {
		sshtest.Missing(t, fmt.Sprintf("the Go modules of layer4 are not here (go -C layer4 mod download): %v: %.1000s", err, out))
	}
	path, err := layer4Binary()
	if err != nil {
		t.Fatal(err)
	}
	c.program = path
	return c
}

// wantReset fails the test unless the connection ends with a reset.
func (c *conn) wantReset() {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		c.t.Errorf("the connection ends with %v, want a reset", err)
	}
}

// echoed returns a connection on which a byte has come back, or why none has: the reset
// of a connection may come before it is there.
func echoed(port int) (net.Conn, error) {
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err = io.WriteString(c, "x"); err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if err != nil {
		_ = c.Close()
	}
	return c, err
}

// TestLayer4 goes through what the listener wrapper does, in routes of caddy-l4.
func TestLayer4(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "LogLevel DEBUG1\n")
	b.serveTCP("127.0.0.1:7", echo)
	rest := make(chan string, 1)
	b.serveTCP("127.0.0.1:8", func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "all there is")
		_ = c.CloseWrite()
		all, _ := io.ReadAll(c)
		rest <- string(all)
	})
	c := newLayer4(t)
	raw, first, matched := sshtest.NewPort(t), sshtest.NewPort(t), sshtest.NewPort(t)
	config := func(limit int, more string) string {
		return c.caddyfile(b.tunnel("prod", "permit_open echo.internal:7-8"), fmt.Sprintf(`grace_period 1s
layer4 {
	127.0.0.1:%d {
		route {
			ssh_tunnel prod echo.internal:7 {
				max_connections %d
			}
		}
	}
	127.0.0.1:%d {
		route {
			ssh_tunnel prod echo.internal:8
		}
	}
	127.0.0.1:%d {
		@ssh ssh
		route @ssh {
			ssh_tunnel prod echo.internal:7
		}
		@tls tls
		route @tls {
			ssh_tunnel prod {l4.tls.server_name}:7
		}
	}
	%s
}
servers 127.0.0.1:%d {
	listener_wrappers {
		layer4 {
			@ssh ssh
			route @ssh {
				ssh_tunnel prod echo.internal:8
			}
		}
		tls
	}
}`, raw, limit, first, matched, more, c.port), "respond \"an ordinary site\"")
	}
	c.start(config(100, ""))

	before := dialRaw(t, raw)
	before.exchange("hello")
	us := before.LocalAddr().(*net.TCPAddr)
	want := fmt.Sprintf("originator %s port %d, target echo.internal port 7", us.IP, us.Port)
	sshtest.Eventually(t, patience, "sshd's log has "+want, func() bool { return strings.Contains(b.Log(), want) })
	if !c.logged("connection opened", "layer4.handlers.ssh_tunnel", us.String(), "echo.internal:7", "prod") {
		t.Error("the log has no line for the connection's start")
	}

	// What matchers have read comes back as well.
	ssh := dialRaw(t, matched)
	ssh.exchange("SSH-2.0-test\r\n")
	chosen := dialRaw(t, matched)
	chosen.exchange(string(clientHello(t, "echo.internal")))
	chosen.exchange("and more")

	// A port can be shared with a site.
	if a := c.get("/"); a.body != "an ordinary site" {
		t.Errorf("the site answers %v", a)
	}
	shared := dialRaw(t, c.port)
	_ = shared.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(shared, "SSH-2.0-test\r\n"); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(shared); err != nil || string(all) != "all there is" {
		t.Fatalf("beside a site: got %q %v", all, err)
	}
	_ = shared.Close()
	if got := <-rest; got != "SSH-2.0-test\r\n" {
		t.Errorf("beside a site: the server got %q", got)
	}

	// A client cannot choose what is not permitted.
	denied := dialRaw(t, matched)
	if _, err := denied.Write(clientHello(t, "web.internal")); err != nil {
		t.Fatal(err)
	}
	denied.wantReset()
	if !c.logged("dialing target failed", `tunnel "prod": target "web.internal:7" is not permitted by permit_open`) {
		t.Error("the log has no line for the denied client")
	}
	if strings.Contains(b.Log(), "target web.internal") {
		t.Error("the bastion was asked for a target that is not permitted")
	}

	// Each direction ends by itself, from each side.
	half := dialRaw(t, first)
	_ = half.SetDeadline(time.Now().Add(patience))
	if all, err := io.ReadAll(half); err != nil || string(all) != "all there is" {
		t.Fatalf("got %q %v", all, err)
	}
	if _, err := io.WriteString(half, "and this"); err != nil {
		t.Fatal(err)
	}
	_ = half.Conn.(*net.TCPConn).CloseWrite()
	select {
	case got := <-rest:
		if got != "and this" {
			t.Errorf("the server got %q", got)
		}
	case <-time.After(patience):
		t.Error("the end of our direction has not come to the server")
	}
	upload := dialRaw(t, raw)
	_ = upload.SetDeadline(time.Now().Add(patience))
	go func() { // returns when all is sent
		_, _ = io.CopyN(upload, sshtest.Body(), 5_000_000)
		_ = upload.Conn.(*net.TCPConn).CloseWrite()
	}()
	newStream(t, upload).read(5_000_000)
	if n, err := upload.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after all: %d bytes, %v", n, err)
	}

	// Reloads, the one that is refused as well, leave connections alone. The limit is for all
	// routes to the target, and counts connections from before.
	if err := c.load(config(100, "udp/127.0.0.1:5353 {\n\troute {\n\t\tssh_tunnel prod echo.internal:7\n\t}\n}")); err == nil || !strings.Contains(err.Error(), "ssh_tunnel does not forward UDP") {
		t.Errorf("loading a configuration with UDP: %v", err)
	}
	c.reload(config(3, ""))
	before.exchange("after the reload")
	ssh.exchange("after the reload")
	chosen.exchange("after the reload")
	var second *conn
	sshtest.Eventually(t, patience, "the upload is counted out", func() bool {
		c, err := echoed(raw)
		second = &conn{c, t}
		return err == nil
	})
	if _, err := echoed(raw); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection beyond max_connections ends with %v", err)
	}

	// A stream that is cut must not look complete: neither where the bastion is lost nor
	// where Caddy exits.
	b.KillSessions(syscall.SIGKILL)
	for _, cut := range []*conn{before, ssh, chosen, second} {
		cut.wantReset()
	}
	last := dialRaw(t, raw)
	last.exchange("hello again")
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	last.wantReset()
	c.waitExit(patience)
}

// TestLayer4Example runs the example for caddy-l4: on one port, each protocol and name is
// served by another server.
func TestLayer4Example(t *testing.T) {
	t.Parallel()
	e := &example{caddy: newLayer4(t), ca: sshtest.NewCA(), content: string(readFile(t, examplesDir+"/layer4/one-port.Caddyfile"))}
	e.netns = sshtest.NewNetns(t)
	b := e.bastion()
	b.netns.SetHosts("127.0.0.1 git.internal db.internal", "127.0.0.2 web.internal", "127.0.0.3 shop.internal", "127.0.0.4 orders.example.com")
	relay(t, b.netns.Listen("tcp", "127.0.0.1:22"), b.Addr())
	b.startPostgres()
	b.serveWeb("web", "127.0.0.2:80")
	secure := func(name, host string, l net.Listener) *sshtest.Web {
		return sshtest.NewWeb(t, sshtest.WebOptions{Name: name, Listener: l, TLS: &tls.Config{Certificates: []tls.Certificate{e.ca.Issue(host)}}})
	}
	secure("shop", "shop.example.com", withPROXY(b.netns.Listen("tcp", "127.0.0.3:443")))
	secure("orders", "orders.example.com", b.netns.Listen("tcp", "127.0.0.4:443"))
	e.hosts = append(e.hosts, "127.0.0.1 edge.example.com shop.example.com orders.example.com web.example.com")
	e.run()

	known := sshtest.WriteFile(t, "known_hosts", []byte(sshtest.KnownHostsLine("edge.example.com:443", b.HostKey.PublicKey())+"\n"))
	e.answers("hello from git", func() *exec.Cmd {
		return e.inNetwork("ssh", "-F", "none", "-i", b.key, "-o", "UserKnownHostsFile="+known, "-o", "BatchMode=yes", "-p", "443",
			"deploy@edge.example.com", "echo hello from git")
	})
	for _, mode := range []string{"disable", "prefer"} {
		e.answers("app at 5432", func() *exec.Cmd {
			psql := e.inNetwork("psql", "--no-psqlrc", "--no-align", "--tuples-only", "-h", "edge.example.com", "-p", "443", "-U", "app", "-d", "postgres",
				"-c", "select current_user || ' at ' || inet_server_port()")
			psql.Env = append(psql.Env, "PGSSLMODE="+mode, "PGPASSWORD="+postgresPassword, "PGCONNECT_TIMEOUT=10")
			return psql
		})
	}
	e.serves("http://edge.example.com:443/hello", "web")
	e.serves("https://shop.example.com/hello", "shop")
	e.serves("https://orders.example.com/hello", "orders")
	fails(t, e.curl("https://web.example.com/hello")) // the bastion does not know it
	fails(t, e.curl("--connect-to", "::edge.example.com:443", "https://web.internal/hello"))
}
