package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestMain makes a demo of the test's own binary where a test asks for one.
func TestMain(m *testing.M) {
	sshtest.Isolate()
	if os.Getenv("RUN_DEMO") == "true" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// demo is a running demo.
type demo struct {
	cmd    *exec.Cmd
	out    io.Reader
	log    bytes.Buffer // complete once cmd has ended
	dirs   []string     // where it may have left something behind
	killer *time.Timer
}

// startDemo starts a demo in directories of its own.
func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{cmd: exec.CommandContext(t.Context(), exe, args...)}
	home, temp := filepath.Join(t.TempDir(), "home"), filepath.Join(t.TempDir(), "a directory")
	d.dirs = []string{home, temp}
	for _, dir := range d.dirs {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d.cmd.Env = append(os.Environ(), "RUN_DEMO=true",
		"HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home, "AppData="+home,
		"TMPDIR="+temp, "TMP="+temp, "TEMP="+temp, "SSH_AUTH_SOCK=")
	d.cmd.Stderr = &d.log
	if d.out, err = d.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.killer = time.AfterFunc(5*time.Minute, func() { _ = d.cmd.Process.Kill() })
	return d
}

// end waits until the demo has ended, and checks that it did so cleanly. It
// returns the rest of what it printed.
func (d *demo) end(t *testing.T) string {
	t.Helper()
	out, err := io.ReadAll(d.out)
	if err != nil {
		t.Error(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the demo ended with %v; its log:\n%s", err, &d.log)
	}
	d.killer.Stop()
	for _, dir := range d.dirs {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 0 {
			t.Errorf("left behind in %q: %v %v", filepath.Base(dir), left, err)
		}
	}
	return string(out)
}

func checkContains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("the %s has no %q:\n%s", what, part, text)
		}
	}
}

// TestDemo runs the demo as a newcomer does: read which address to open, open
// it, press Ctrl-C.
func TestDemo(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted there")
	}
	d := startDemo(t)
	out := bufio.NewReader(d.out)
	var told strings.Builder
	var urls []string
	urlPattern := regexp.MustCompile(`^(?:Open|or) .*(http://127\.0\.0\.1:\d+/)`)
	for len(urls) < 2 {
		line, err := out.ReadString('\n')
		if err != nil {
			_ = d.cmd.Wait()
			t.Fatalf("no address to open: %v\n%s%s", err, &told, &d.log)
		}
		told.WriteString(line)
		if match := urlPattern.FindStringSubmatch(line); match != nil {
			urls = append(urls, match[1])
		}
	}
	checkContains(t, "Caddyfile", told.String(), "tunnel prod demo@127.0.0.1:", "transport ssh_tunnel prod", "ssh_tunnel prod web.internal:80")

	checkContains(t, "page", get(t, urls[0]),
		"This page is from web.internal:80", "you            127.0.0.1", "transport ssh_tunnel",
		"1 login and opened 1 channel:", "on behalf of 127.0.0.1:65535")
	raw := get(t, urls[1])
	checkContains(t, "raw page", raw, "This page is from web.internal:80", "listener wrapper ssh_tunnel", "2 logins and opened 2 channels:")
	if strings.Count(raw, ":65535") != 1 {
		t.Errorf("the raw connection was not opened on behalf of its peer:\n%s", raw)
	}

	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	d.end(t)
	log := d.log.String()
	checkContains(t, "log", log,
		"login of demo", "ssh_tunnel\tconnected", "channel of demo to web.internal:80 opened", "connection opened")
	for _, word := range []string{"WARN", "ERROR", "lost", "DATA RACE"} {
		if strings.Contains(log, word) {
			t.Errorf("the log has %q:\n%s", word, log)
		}
	}
}

// TestDemoOnce runs the demo as a machine does, while another program listens
// on the port that the demo prefers.
func TestDemoOnce(t *testing.T) {
	if ln, err := net.Listen("tcp", "127.0.0.1:8080"); err == nil { // or it is taken already
		defer func() { _ = ln.Close() }()
	}
	d := startDemo(t, "-once")
	out := d.end(t)
	checkContains(t, "output", out, "transport ssh_tunnel prod\n", "GET http://127.0.0.1:", "2 channels:")
	if n := strings.Count(out, "This page is from web.internal:80"); n != 2 {
		t.Errorf("printed %d pages, want 2:\n%s", n, out)
	}
	if strings.Contains(out, ":8080") {
		t.Errorf("used a port that was taken:\n%s", out)
	}
}

// TestOtherTargets checks that the bastion reaches nothing but what the demo
// is about: it is an SSH server on the machine of whoever tries the demo.
func TestOtherTargets(t *testing.T) {
	b, err := startBastion(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.server.Close() }()
	other := sshtest.NewWeb(t, sshtest.WebOptions{})
	for address, permitted := range map[string]bool{webAddress: true, other.Addr(): false, "web.internal:81": false} {
		if got := dialThrough(t, b, address) == nil; got != permitted {
			t.Errorf("%s: permitted is %t, want %t", address, got, permitted)
		}
	}
	if n := other.Accepted(); n != 0 {
		t.Errorf("the bastion connected to another server %d times", n)
	}
}

// dialThrough opens a channel with the key and known_hosts that Caddy is given.
func dialThrough(t *testing.T, b *demoBastion, address string) error {
	t.Helper()
	pem, err := os.ReadFile(b.identityFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	hostKeys, err := knownhosts.New(b.knownHosts)
	if err != nil {
		t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", b.server.Addr(), &ssh.ClientConfig{
		User:            bastionUser,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: hostKeys,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := client.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err
}

// get fetches a page over a connection of its own.
func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, response.Status, err)
	}
	return string(body)
}
