//go:build linux

package e2e

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// simple_test.go is the first thing that users do, and what must not happen
// then.

// tenLines is the simplest useful Caddyfile.
const tenLines = `{
	ssh_tunnel {
		tunnel prod deploy@bastion.example.com
	}
}

app.example.com {
	reverse_proxy web.internal:80 {
		transport ssh_tunnel prod
	}
}
`

// tenLinesJSON is what it stands for.
const tenLinesJSON = `{"apps": {
	"http": {"servers": {"srv0": {"listen": [":443"], "routes": [{
		"match": [{"host": ["app.example.com"]}],
		"handle": [{"handler": "subroute", "routes": [{"handle": [{
			"handler": "reverse_proxy",
			"transport": {"protocol": "ssh_tunnel", "tunnel": "prod"},
			"upstreams": [{"dial": "web.internal:80"}]
		}]}]}],
		"terminal": true
	}]}}},
	"ssh_tunnel": {"tunnels": {"prod": {"hosts": ["bastion.example.com:22"], "user": "deploy"}}}
}}`

// TestTenLines serves the simplest Caddyfile to a user who has what ssh needs:
// a key and a line of known_hosts in the home directory. Caddy runs in a
// network of its own, where the bastion has its name and its usual port.
func TestTenLines(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := newCaddy(t)
	c.netns = sshtest.NewNetns(t)
	c.netns.SetHosts("127.0.0.1 bastion.example.com")
	relay(t, c.netns.Listen("tcp", "127.0.0.1:22"), b.Addr())

	c.write(".ssh/id_ed25519", readFile(t, b.key))
	c.write(".ssh/known_hosts", []byte(sshtest.KnownHostsLine("bastion.example.com:22", b.HostKey.PublicKey())+"\n"))

	// The site's certificate, which Caddy would get from an authority.
	ca := sshtest.NewCA()
	cert, key := sshtest.EncodePEM(ca.Issue("app.example.com"))
	const certs = "data/caddy/certificates/acme-v02.api.letsencrypt.org-directory/app.example.com/app.example.com"
	c.write(certs+".crt", cert)
	c.write(certs+".key", key)
	c.write(certs+".json", []byte(`{"sans": ["app.example.com"]}`))

	c.start(tenLines)
	c.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "app.example.com"}}
	sshtest.Eventually(t, patience, "the private web server answers", func() bool {
		request, err := http.NewRequest(http.MethodGet, "https://"+c.netns.Addr()+"/hello", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = "app.example.com"
		response, err := c.client.Do(request)
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return err == nil && string(body) == "hello from web\n"
	})
	if logins := b.Logins(); logins != 1 || !strings.Contains(b.Log(), "Accepted publickey for deploy ") {
		t.Errorf("sshd saw %d logins", logins)
	}
}

// TestTenLinesJSON adapts the simplest Caddyfile.
func TestTenLinesJSON(t *testing.T) {
	t.Parallel()
	c := newCaddy(t)
	out, err := c.configured(tenLines, "adapt").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(tenLinesJSON), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s", out)
	}
}

// TestModules lists what the binary has.
func TestModules(t *testing.T) {
	t.Parallel()
	out, err := newCaddy(t).command("list-modules").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Fields(string(out))
	for _, module := range []string{"ssh_tunnel", "http.reverse_proxy.transport.ssh_tunnel", "caddy.listeners.ssh_tunnel", "http.handlers.ssh_tunnel_ready", "http.handlers.ssh_tunnel_status"} {
		if !slices.Contains(modules, module) {
			t.Errorf("no module %s", module)
		}
	}
}

// TestValidateTouchesNothing validates a configuration with all that could make
// it connect: health checks, an agent, environment.
func TestValidateTouchesNothing(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	link, jump, proxy := b.link(), b.link(), b.link()
	// An agent's socket. Connections would wait in its queue.
	socket := filepath.Join(t.TempDir(), "agent")
	agent, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = agent.Close() }()
	c := newCaddy(t, "HTTP_PROXY=http://"+proxy.Addr(), "SSH_AUTH_SOCK="+socket)
	raw := sshtest.NewPort(t)
	config := c.caddyfile(
		b.tunnelTo("prod", "deploy@"+link.Addr(), "identity_agent "+socket, "identity_file "+b.key, "proxy_jump jump")+
			b.tunnelTo("jump", "deploy@"+jump.Addr()),
		wrapper(raw),
		"reverse_proxy web.internal:80 {\ntransport ssh_tunnel prod\nhealth_uri /hello\nhealth_interval 10ms\nfail_duration 1m\n}",
	) + c.site(raw, "")
	if out, err := c.configured(config, "validate").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := link.Accepted() + jump.Accepted() + proxy.Accepted(); n != 0 {
		t.Errorf("%d connections to the bastions or the proxy", n)
	}
	_ = agent.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := agent.Accept(); !isTimeout(err) {
		t.Errorf("a connection to the agent: %v", err)
	}
	if logins := b.Logins(); logins != 0 {
		t.Errorf("sshd saw %d logins", logins)
	}
}

// TestEnvironmentProxy sets the variables that http.Transport takes for a proxy.
func TestEnvironmentProxy(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	ca := sshtest.NewCA()
	sshtest.NewWeb(t, sshtest.WebOptions{
		Listener: b.netns.Listen("tcp", "127.0.0.1:443"),
		TLS:      &tls.Config{Certificates: []tls.Certificate{ca.Issue("web.internal")}},
	})
	proxy := b.link()
	var env []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		value := "=http://" + proxy.Addr()
		env = append(env, name+value, strings.ToLower(name)+value)
	}
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod"), "", `
handle /secure/* {
	uri strip_prefix /secure
	reverse_proxy https://web.internal {
		health_uri /hello
		health_interval 50ms
		transport ssh_tunnel prod {
			tls_trust_pool file `+sshtest.WriteFile(t, "ca.pem", ca.PEM())+`
		}
	}
}
handle {
	reverse_proxy web.internal:80 {
		health_uri /hello
		health_interval 50ms
		transport ssh_tunnel prod
	}
}
`)
	}, env...)
	c.wantServed()
	sshtest.Eventually(t, patience, "HTTPS is served", func() bool { return c.get("/secure/hello").status == http.StatusOK })
	if n := proxy.Accepted(); n != 0 {
		t.Errorf("%d connections to the proxy of the environment", n)
	}
}

// write writes a file in Caddy's home.
func (c *caddy) write(name string, content []byte) {
	c.t.Helper()
	path := filepath.Join(c.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
