//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi" //nolint:gosec // what it was blocked for ended with Go 1.6.3
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// passthrough_test.go has the listener wrapper share a port with TLS: behind
// Caddy's, and before it with connections picked by their ClientHello.

// certificate writes a certificate and its key to files, and returns the
// directive that gives them to a site.
func certificate(t *testing.T, ca *sshtest.CA, host string) string {
	t.Helper()
	cert, key := sshtest.EncodePEM(ca.Issue(host))
	return fmt.Sprintf("tls %s %s\n", sshtest.WriteFile(t, "cert.pem", cert), sshtest.WriteFile(t, "key.pem", key))
}

// tlsSite returns the Caddyfile of a site with TLS.
func tlsSite(host string, port int, body string) string {
	return fmt.Sprintf("https://%s:%d {\nbind 127.0.0.1\n%s\n}\n", host, port, body)
}

// TestRedisBehindTLS has redis-cli speak TLS with Caddy, and the wrapper pass on
// what was decrypted.
func TestRedisBehindTLS(t *testing.T) {
	t.Parallel()
	cli := program(t, "redis-cli")
	b := newEmptyBastion(t, "")
	b.startRedis()
	ca, port := sshtest.NewCA(), sshtest.NewPort(t)
	const host = "redis.example.com"
	startCaddy(t, func(c *caddy) string {
		global := fmt.Sprintf("servers 127.0.0.1:%d {\nprotocols h1\nlistener_wrappers {\nssh_tunnel prod localhost:6379\n}\n}\n", port)
		return c.caddyfile(b.tunnel("prod"), global, "") + tlsSite(host, port, certificate(t, ca, host))
	})
	redis := func(ca *sshtest.CA, args ...string) *exec.Cmd {
		return client(t, cli, append([]string{
			"-e", "--tls", "--cacert", sshtest.WriteFile(t, "ca.pem", ca.PEM()),
			"--sni", host, "-h", "127.0.0.1", "-p", strconv.Itoa(port),
		}, args...)...)
	}
	sshtest.Eventually(t, patience, "Redis answers", func() bool { return redis(ca, "PING").Run() == nil })
	value := strings.Repeat("long ", 100_000)
	set := redis(ca, "-x", "SET", "key")
	set.Stdin = strings.NewReader(value)
	if got := output(t, set); got != "OK" {
		t.Errorf("redis-cli prints %q", got)
	}
	if got := output(t, redis(ca, "GET", "key")); got != strings.TrimSpace(value) {
		t.Errorf("redis-cli prints %d bytes", len(got))
	}
	fails(t, redis(sshtest.NewCA(), "PING")) // the certificate is Caddy's
}

// passthrough is a Caddy with a site, www.example.com, on whose port the
// connections for git.internal go to a server inside.
type passthrough struct {
	*caddy
	ca   *sshtest.CA
	port int
}

const (
	siteName  = "www.example.com"
	innerName = "git.internal"
)

// servePassthrough starts it. The server inside has a certificate from the same
// authority, and handler is what it serves.
func servePassthrough(t *testing.T, handler http.Handler) *passthrough {
	t.Helper()
	b := newEmptyBastion(t, "")
	p := &passthrough{ca: sshtest.NewCA(), port: sshtest.NewPort(t)}
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{p.ca.Issue(innerName)}},
		ReadHeaderTimeout: patience,
	}
	// It serves until the listener is closed, which the test's end does.
	l := b.netns.Listen("tcp", "127.0.0.1:443")
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	p.caddy = startCaddy(t, func(c *caddy) string {
		global := fmt.Sprintf("servers 127.0.0.1:%d {\nlistener_wrappers {\nssh_tunnel prod web.internal:443 {\nmatch sni %s\n}\ntls\n}\n}\n", p.port, innerName)
		return c.caddyfile(b.tunnel("prod"), global, "") + tlsSite(siteName, p.port, certificate(t, p.ca, siteName)+`respond "the site"`)
	})
	return p
}

// get requests a page, through a new connection.
func (p *passthrough) get(host string) (body string, err error) {
	client := &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				dialer := tls.Dialer{Config: &tls.Config{ServerName: host, RootCAs: p.ca.Pool()}}
				return dialer.DialContext(ctx, "tcp", local(p.port))
			},
		},
	}
	response, err := client.Get("https://" + host)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	return string(content), err
}

// serveAll fails the test unless the site and the server inside are both
// served, each with its own certificate.
func (p *passthrough) serveAll() {
	p.t.Helper()
	for host, want := range map[string]string{siteName: "the site", innerName: "the inside"} {
		err := p.unlessLate(func() error {
			got, err := p.get(host)
			if err == nil && got != want {
				err = fmt.Errorf("got %q", got)
			}
			return err
		})
		if err != nil {
			p.t.Fatalf("%s: %v", host, err)
		}
	}
}

// unlessLate does something that makes connections. It does so again if it fails
// while Caddy waits in vain for a ClientHello, for five seconds: a machine that does
// much at once may not let the client send one.
func (p *passthrough) unlessLate(do func() error) error {
	for {
		late := strings.Count(p.log(), "i/o timeout")
		err := do()
		if err == nil || strings.Count(p.log(), "i/o timeout") == late {
			return err
		}
	}
}

// inside is the page of the server inside.
func inside(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the inside") }

// git returns a git(1) command that has nothing of our configuration.
func git(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := client(t, "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
	cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	return cmd
}

// newGitRepository returns a directory with a repository of that name, which has a
// file of some size.
func newGitRepository(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	repository := filepath.Join(root, "repository")
	output(t, git(t, "init", "-q", "-b", "main", repository))
	content := make([]byte, 5_000_000)
	_, _ = rand.Read(content)
	if err := os.WriteFile(filepath.Join(repository, "file"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, git(t, "-C", repository, "add", "file"))
	output(t, git(t, "-C", repository, "commit", "-q", "-m", "a file"))
	return root
}

// gitHandler serves the repositories below root as git's own web server does.
func gitHandler(t *testing.T, root string) http.Handler {
	t.Helper()
	return &cgi.Handler{
		Path: filepath.Join(output(t, git(t, "--exec-path")), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1"},
	}
}

// TestGitPassthrough has git clone from a server inside, whose TLS Caddy does
// not end, on the port of an ordinary site.
func TestGitPassthrough(t *testing.T) {
	t.Parallel()
	root := newGitRepository(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/", inside)
	mux.Handle("/repository/", gitHandler(t, root))
	p := servePassthrough(t, mux)
	p.serveAll()

	clone := filepath.Join(t.TempDir(), "clone")
	authority := sshtest.WriteFile(t, "ca.pem", p.ca.PEM())
	if err := p.unlessLate(func() error {
		cmd := git(t, "-c", fmt.Sprintf("http.curloptResolve=%s:%d:127.0.0.1", innerName, p.port),
			"clone", "-q", fmt.Sprintf("https://%s:%d/repository/.git", innerName, p.port), clone)
		cmd.Env = append(cmd.Env, "GIT_SSL_CAINFO="+authority)
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, clone+"/file"); !bytes.Equal(got, readFile(t, root+"/repository/file")) {
		t.Errorf("the clone has %d bytes", len(got))
	}
	p.serveAll()
	if !p.logged("connection closed", "web.internal:443", "prod") {
		t.Error("the log has no line for the connection's end")
	}
}

// clientHello returns what a TLS client sends first.
func clientHello(t *testing.T, host string) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	// Returns when the pipe is closed.
	go func() { _ = tls.Client(theirs, &tls.Config{ServerName: host}).HandshakeContext(t.Context()) }()
	defer func() { _ = ours.Close() }()
	header := make([]byte, 5)
	if _, err := io.ReadFull(ours, header); err != nil {
		t.Fatal(err)
	}
	record := make([]byte, int(header[3])<<8|int(header[4]))
	if _, err := io.ReadFull(ours, record); err != nil {
		t.Fatal(err)
	}
	return append(header, record...)
}

// TestHostileClients has many clients that never get to the point, and some who
// send what is none. All others must be served as if they were not there.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	p := servePassthrough(t, http.HandlerFunc(inside))
	p.serveAll()
	sshtest.Eventually(t, patience, "those connections end", func() bool { return p.logged("connection closed", "web.internal:443") })
	before, _ := p.goroutines()

	// Connections that are open, and will not say for whom.
	hello := clientHello(t, innerName)
	var open []net.Conn
	dial := func(sent []byte) net.Conn {
		c, err := net.DialTimeout("tcp", local(p.port), patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		open = append(open, c)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for n := range 1000 {
		dial(hello[:n*len(hello)/2000]) // of every second one not a byte more than half
	}
	p.serveAll()

	// Garbage, all of which is sent: nobody waits for more.
	random := make([]byte, 64<<10)
	_, _ = rand.Read(random)
	random[0] = 0xff // not by chance the start of a handshake
	broken := bytes.Clone(hello)
	for i := 60; i < len(broken); i++ {
		broken[i] ^= 0x55
	}
	var ending sync.WaitGroup
	defer ending.Wait()
	for name, garbage := range map[string][]byte{
		"random":       random,
		"plain HTTP":   []byte("GET / HTTP/1.1\r\nHost: " + innerName + "\r\n\r\n"),
		"SSH":          []byte("SSH-2.0-client\r\n"),
		"zeros":        make([]byte, 64<<10),
		"broken hello": broken,
		"empty record": bytes.Repeat([]byte{0x16, 3, 1, 0, 0}, 10_000),
		"huge hello":   append([]byte{0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff}, random...),
	} {
		ending.Go(func() {
			c, err := net.DialTimeout("tcp", local(p.port), patience)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = c.Write(garbage) // it may be refused halfway
			if _, err := io.Copy(io.Discard, c); err != nil && isTimeout(err) {
				t.Errorf("%s: the connection is still open after %v", name, patience)
			}
		})
	}

	// A byte a second, for longer than a hello may take.
	var slow []net.Conn
	for range 20 {
		slow = append(slow, dial(nil))
	}
	for i := range 7 {
		for _, c := range slow {
			_, _ = c.Write(hello[i : i+1])
		}
		time.Sleep(time.Second)
		p.serveAll()
	}
	ending.Wait()
	p.serveAll()
	for _, c := range open {
		_ = c.Close()
	}
	sshtest.Eventually(t, patience, "no goroutine is left of them", func() bool {
		n, _ := p.goroutines()
		return n <= before
	})
	p.serveAll()
}
