//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// admin_test.go asks a running Caddy about its tunnels, and has it reconnect them.

// status is what the admin API tells of a tunnel.
type status struct {
	report.Status
	Forwards []struct {
		Kind, Listen, Target string
		State                remote.State
		Error                string
		Connections          int
	}
}

// status returns a tunnel's.
func (c *caddy) status(name string) (s status) {
	c.t.Helper()
	body := c.fromAdmin("/ssh_tunnel/tunnels/" + name)
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.Tunnel != name {
		c.t.Fatalf("tunnel %s: %v in %s", name, err, body)
	}
	return s
}

// post makes a request of the admin API.
func (c *caddy) post(path string) (status int, body string) {
	c.t.Helper()
	response, err := c.admin.Post("http://127.0.0.1"+path, "", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// ready returns what a probe gets.
func (c *caddy) ready() (status int, body string) {
	c.t.Helper()
	response, err := c.admin.Get("http://127.0.0.1/ssh_tunnel/ready")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// isReady reports whether a probe is content.
func (c *caddy) isReady() bool {
	status, _ := c.ready()
	return status == http.StatusOK
}

// ssh runs `caddy ssh-tunnel` and returns what it prints and its exit status.
func (c *caddy) ssh(args ...string) (stdout, stderr string, exit int) {
	c.t.Helper()
	cmd := c.command(append([]string{"ssh-tunnel"}, args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	failed, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		c.t.Fatal(err)
	}
	if ok {
		exit = failed.ExitCode()
	}
	return out.String(), errs.String(), exit
}

// TestStatus compares the status of a tunnel with what is.
func TestStatus(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := b.serve("connections 1")
	c.wantServed()
	sshtest.Eventually(t, patience, "a round-trip time", func() bool { return c.status("prod").RTT > 0 })

	greeting, err := net.Dial("tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	version, err := bufio.NewReader(greeting).ReadString('\n')
	_ = greeting.Close()
	if err != nil {
		t.Fatal(err)
	}
	s := c.status("prod")
	if len(s.Connections) != 1 {
		t.Fatalf("got %+v", s)
	}
	conn := s.Connections[0]
	for what, pair := range map[string][2]string{
		"state":    {string(s.State), "up"},
		"host":     {s.Host, b.Addr()},
		"user":     {s.User, "deploy"},
		"remote":   {conn.Remote, b.Addr()},
		"login":    {conn.User, "deploy"},
		"server":   {conn.Server, strings.TrimSpace(version)},
		"host key": {conn.HostKey, b.HostKey.Fingerprint()},
		"class":    {conn.Class, "requests"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %q, want %q", what, pair[0], pair[1])
		}
	}
	if !strings.Contains(conn.Authentication, b.identity.Fingerprint()) || !strings.Contains(conn.Authentication, b.key) {
		t.Errorf("authentication: got %q", conn.Authentication)
	}
	if a := conn.Algorithms; a == nil || a.KeyExchange == "" || a.Cipher == "" || a.HostKey != "ssh-ed25519" {
		t.Errorf("algorithms: got %+v", a)
	}
	if s.Since.Before(conn.Since) || time.Since(s.Since) > 5*patience || s.LastError != nil || s.NextRetry != nil {
		t.Errorf("got %+v", s)
	}

	// A WebSocket has a channel of its own.
	before := s
	ws := c.websocket()
	ws.exchange("hello")
	if s = c.status("prod"); s.Channels < 1 || s.ChannelsTotal <= before.ChannelsTotal || s.Connections[0].Channels != s.Channels {
		t.Errorf("with a WebSocket: got %+v, before that %+v", s, before)
	}
	open := s.Channels
	_ = ws.Close()
	sshtest.Eventually(t, patience, "its channel's end", func() bool { return c.status("prod").Channels < open })

	before = c.status("prod")
	const size = 3_000_000
	if a := c.get(fmt.Sprintf("/size/%d", size)); len(a.body) != size {
		t.Fatalf("downloading: %v", a)
	}
	s = c.status("prod")
	if got := s.Received - before.Received; got < size || got > size+10_000 {
		t.Errorf("%d bytes were received, want %d and some", got, size)
	}
	if got := s.Sent - before.Sent; got <= 0 || got > 10_000 {
		t.Errorf("%d bytes were sent", got)
	}
}

// TestStatusForwards compares the status of what listens with what is.
func TestStatusForwards(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "")
	b.serveTCP("127.0.0.1:7", echo)
	taken := b.netns.Listen("tcp", "127.0.0.1:9002")
	local := sshtest.NewPort(t)
	target := newEcho(t)
	c := startCaddy(t, func(c *caddy) string {
		return b.bound("auto_https off", "http://:9003 {\nbind ssh_tunnel/prod\nrespond hello\n}\n",
			fmt.Sprintf("local_forward %d echo.internal:7", local),
			"remote_forward 9001 "+target, "remote_forward 127.0.0.1:9002 "+target)
	})
	states := func() string {
		var text strings.Builder
		for _, f := range c.status("prod").Forwards {
			fmt.Fprintf(&text, "%s %s %s %s %d\n", f.Kind, f.Listen, f.Target, f.State, f.Connections)
		}
		return text.String()
	}
	want := func(here, there int, second string) string {
		return fmt.Sprintf("local_forward 127.0.0.1:%d echo.internal:7 listening %d\n", local, here) +
			fmt.Sprintf("remote_forward localhost:9001 %s listening %d\n", target, there) +
			fmt.Sprintf("remote_forward 127.0.0.1:9002 %s %s 0\n", target, second) +
			"bind localhost:9003  listening 0\n"
	}
	become := func(want string) {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Logf("got\n%s\nwant\n%s", states(), want)
			}
		}()
		sshtest.Eventually(t, patience, "the forwards", func() bool { return states() == want })
	}
	become(want(0, 0, "refused"))
	if e := c.status("prod").Forwards[2].Error; !strings.Contains(e, "ClientAliveInterval") {
		t.Errorf("why it is refused: %q", e)
	}
	out, _, exit := c.ssh("status")
	if exit != 0 || !strings.Contains(out, "\n  remote_forward 127.0.0.1:9002: refused: ") {
		t.Errorf("exit status %d:\n%s", exit, out)
	}

	conn := dialRaw(t, local)
	conn.exchange("hello")
	cmd := b.netns.Command(program(t, "perl"), "-MIO::Socket::INET", "-e",
		`$s = IO::Socket::INET->new("127.0.0.1:9001") or die; print $s "x\n"; <$s>; <STDIN>`)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	become(want(1, 1, "refused"))
	_ = stdin.Close()
	_ = cmd.Wait()
	_ = conn.Close()
	become(want(0, 0, "refused"))

	b.Stop()
	sshtest.Eventually(t, patience, "the loss", func() bool { return c.status("prod").State != report.StateUp })
	if got := states(); strings.Count(got, " waiting ") != 3 || strings.Count(got, " listening ") != 1 {
		t.Errorf("without a connection:\n%s", got)
	}
	_ = taken.Close()
	b.Restart()
	become(want(0, 0, "listening"))
}

// newEcho serves echo and returns where.
func newEcho(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go accept(ln, echo)
	return ln.Addr().String()
}

// TestStatusAfterFailedReload: the status is of the configuration that runs, at
// whatever address a failed one has left the admin API.
func TestStatusAfterFailedReload(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := b.serve()
	c.wantServed()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	// It fails when it starts, after all of it was provisioned.
	failing := func(global string) string {
		return c.caddyfile(b.tunnel("other")+b.tunnel("prod"), global, proxied) + c.site(taken.Addr().(*net.TCPAddr).Port, "respond no")
	}
	told := func() string {
		s := c.status("prod")
		if all := c.fromAdmin("/ssh_tunnel/tunnels"); strings.Contains(all, `"tunnel":"other"`) {
			t.Errorf("the failed configuration is in it: %s", all)
		}
		if !c.isReady() {
			t.Error("not ready")
		}
		return fmt.Sprint(s.State, s.Connections[0].Since)
	}
	before := told()
	if err := c.load(failing("")); err == nil {
		t.Fatal("the configuration was loaded")
	}
	if after := told(); after != before {
		t.Errorf("got %s, before the reload %s", after, before)
	}

	elsewhere := filepath.Join(c.home, "elsewhere.sock")
	if err := c.load(failing("admin unix/" + elsewhere)); err == nil {
		t.Fatal("the configuration was loaded")
	}
	if _, err := os.Stat(elsewhere); err == nil {
		c.admin.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", elsewhere)
		}
	}
	if after := told(); after != before {
		t.Errorf("with another admin block: got %s, before the reload %s", after, before)
	}
}

// TestReady stops the bastion and starts it again.
func TestReady(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := startCaddy(t, func(c *caddy) string {
		idle := strings.Replace(b.tunnel("idle"), b.Addr(), fmt.Sprintf("127.0.0.1:%d", sshtest.NewPort(t)), 1)
		return c.caddyfile(b.tunnel("prod", "reconnect_delay 50ms 200ms")+strings.TrimSuffix(idle, "}\n")+"lazy\n}\n", "", proxied)
	})
	sshtest.Eventually(t, patience, "ready", c.isReady)
	if out, errs, exit := c.ssh("status"); exit != 0 || !strings.Contains(out, "prod    up     "+b.Addr()) || !strings.Contains(out, "idle    idle ") {
		t.Errorf("status: %d\n%s%s", exit, out, errs)
	}

	b.Stop()
	sshtest.Eventually(t, patience, "why it is not ready", func() bool {
		status, body := c.ready()
		return status == http.StatusServiceUnavailable && strings.Contains(body, `{"tunnel":"prod","state":"down","cause":"connection_refused","error":"`)
	})
	out, errs, exit := c.ssh("status")
	if exit != 1 || !strings.Contains(out, "\n  connection_refused ") || !strings.Contains(errs, "not up: prod") {
		t.Errorf("status: %d\n%s%s", exit, out, errs)
	}
	if out, errs, exit := c.ssh("status", "idle"); exit != 0 || strings.Contains(out, "prod") {
		t.Errorf("status of the lazy one: %d\n%s%s", exit, out, errs)
	}
	b.Restart()
	sshtest.Eventually(t, patience, "ready again", c.isReady)
}

// TestReconnectUnderLoad has connections replaced while requests and a stream go
// on. Nothing of it may show but that there is another connection.
func TestReconnectUnderLoad(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := b.serveSite(patient, "connections 1")
	c.wantServed()
	ws := c.websocket()
	ws.exchange("before")

	var stop atomic.Bool
	var served atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		client := c.with(new(http.Transport))
		clients.Go(func() {
			for !stop.Load() {
				if a := client.get("/hello"); a.err != nil || a.status != http.StatusOK || a.body != "hello from web\n" {
					t.Errorf("a request failed: %v", a)
					return
				}
				served.Add(1)
			}
		})
	}
	for round := range 3 {
		logins, before := b.Logins(), served.Load()
		serving := func() (since time.Time) {
			for _, conn := range c.status("prod").Connections {
				if conn.Class != "draining" {
					since = conn.Since
				}
			}
			return since
		}
		old := serving()
		if status, body := c.post("/ssh_tunnel/tunnels/prod/reconnect"); status != http.StatusAccepted || !strings.Contains(body, `"state":"up"`) {
			t.Fatalf("got %d %s", status, body)
		}
		sshtest.Eventually(t, patience, "another connection", func() bool { return serving().After(old) })
		sshtest.Eventually(t, patience, "requests go on", func() bool { return served.Load() > before+50 || t.Failed() })
		ws.exchange(fmt.Sprint("round ", round))
		if n := b.Logins() - logins; n < 1 || n > 1+c.explained() {
			t.Errorf("sshd saw %d more logins", n)
		}
	}
	stop.Store(true)
	clients.Wait()
}

// TestReconnectAfterRefusal fixes on the bastion why it refused us. No file
// here tells of that.
func TestReconnectAfterRefusal(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	authorized, err := os.ReadFile(b.keys)
	if err != nil {
		t.Fatal(err)
	}
	authorize := func(keys []byte) {
		if err := os.WriteFile(b.keys, keys, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authorize(nil)
	c := b.serve()
	// The third failure in a row: from here on it waits for ten minutes.
	sshtest.Eventually(t, 2*patience, "it waits for long", func() bool {
		s := c.status("prod")
		return s.LastError != nil && s.LastError.Cause == failure.CauseKeyRefused && s.NextRetry != nil && time.Until(*s.NextRetry) > time.Minute
	})
	authorize(authorized)
	out, errs, exit := c.ssh("reconnect", "prod")
	if exit != 0 || out != "prod: connecting\n" {
		t.Errorf("reconnect: %d %s%s", exit, out, errs)
	}
	sshtest.Eventually(t, patience, "it is up", func() bool { return c.status("prod").State == report.StateUp })
	c.wantServed()
	if out, _, _ := c.ssh("reconnect", "prod"); out != "prod: replacing its connection\n" {
		t.Errorf("reconnect: %s", out)
	}
}

// TestStatusCommand: what it prints, and what it does about mistakes.
func TestStatusCommand(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := b.serve()
	c.wantServed()
	out, errs, exit := c.ssh("status", "--json")
	var tunnels []status
	if err := json.Unmarshal([]byte(out), &tunnels); err != nil || exit != 0 || len(tunnels) != 1 || tunnels[0].Host != b.Addr() {
		t.Errorf("--json: %d %v\n%s%s", exit, err, out, errs)
	}
	if _, errs, exit := c.ssh("status", "prdo"); exit != 1 || !strings.Contains(errs, `unknown tunnel "prdo"; configured: prod`) {
		t.Errorf("an unknown tunnel: %d %s", exit, errs)
	}
	if _, errs, exit := c.ssh("status", "--address", fmt.Sprintf("localhost:%d", sshtest.NewPort(t))); exit != 1 || !strings.Contains(errs, "is it running") {
		t.Errorf("nobody to ask: %d %s", exit, errs)
	}
	if out, _, exit := c.ssh("status", "--help"); exit != 0 || !strings.Contains(out, "Usage:\n  caddy ssh-tunnel status [flags]") {
		t.Errorf("--help: %d %s", exit, out)
	}
	if out, _, _ := c.ssh("status", "--", ""); strings.Contains(out, "up") {
		t.Errorf("an empty name: %s", out)
	}
	complete := c.command("__complete", "ssh-tunnel", "status", "")
	if got, err := complete.Output(); err != nil || !strings.HasPrefix(string(got), "prod\n") {
		t.Errorf("completing: %v %s", err, got)
	}

	// It shows it again until a signal ends it, a Caddy that stops meanwhile
	// included.
	watch := c.command("ssh-tunnel", "status", "--watch=50ms")
	pipe, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	until := func(text string) {
		t.Helper()
		for n := 0; n < 2 && lines.Scan(); {
			if strings.Contains(lines.Text(), text) {
				n++
			}
		}
	}
	until("prod    up ")
	c.stop(patience)
	until("is it running")
	_ = watch.Process.Signal(syscall.SIGINT)
	_, _ = io.Copy(io.Discard, pipe)
	if err := watch.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}
