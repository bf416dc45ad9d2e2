//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// bastion_test.go is the private network: sshd, and what only it can reach.

// bastion is an OpenSSH server in a network of its own, and in there, on
// 127.0.0.1, a web server. web.internal and echo.internal are names for that
// address that are known inside alone.
type bastion struct {
	*sshtest.SSHD
	t        *testing.T
	netns    *sshtest.Netns
	identity *sshtest.Key // may log in
	key      string       // the path of its file
	keys     string       // the path of the file of all that may
	web      *sshtest.Web
}

// users may log in. They exist in the network alone.
var users = []string{"deploy", "second", "third"}

// newBastion starts a bastion. config is added to its sshd_config(5).
func newBastion(t *testing.T, config string) *bastion {
	t.Helper()
	b := newEmptyBastion(t, config)
	b.web = sshtest.NewWeb(t, sshtest.WebOptions{Listener: b.netns.Listen("tcp", "127.0.0.1:80")})
	b.provePrivate()
	return b
}

// newEmptyBastion starts a bastion without a web server.
func newEmptyBastion(t *testing.T, config string) *bastion {
	t.Helper()
	return newBastionIn(t, sshtest.NewNetns(t), config)
}

// newBastionIn starts a bastion without a web server in a network.
func newBastionIn(t *testing.T, netns *sshtest.Netns, config string) *bastion {
	t.Helper()
	b := &bastion{t: t, netns: netns, identity: sshtest.NewKey()}
	b.netns.SetHosts("127.0.0.1 web.internal echo.internal")
	b.addUsers()
	b.key = sshtest.WriteFile(t, "id_ed25519", b.identity.PEM(""))
	// sshd reads authorized_keys as the user, who may not read our directories.
	b.keys = sshtest.WriteFile(t, "keys", []byte(b.identity.AuthorizedKey()+"\n"))
	b.SSHD = sshtest.StartSSHD(t, sshtest.SSHDOptions{
		Netns:  b.netns,
		Config: fmt.Sprintf("AuthorizedKeysCommand /bin/cat %s\nAuthorizedKeysCommandUser root\n%s", b.keys, config),
	})
	return b
}

// addUsers adds accounts to the /etc/passwd of the network.
func (b *bastion) addUsers() {
	b.t.Helper()
	var accounts strings.Builder
	accounts.Write(readFile(b.t, b.netns.Etc("passwd")))
	for i, user := range users {
		fmt.Fprintf(&accounts, "%s:*:%d:65534::/nonexistent:/bin/sh\n", user, 60100+i)
	}
	b.netns.WriteEtc("passwd", accounts.String())
}

// provePrivate fails the test if the web server can be reached from here.
func (b *bastion) provePrivate() {
	b.t.Helper()
	before := b.web.Accepted()
	for _, address := range []string{"127.0.0.1:80", net.JoinHostPort(b.netns.Addr(), "80"), "web.internal:80"} {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			_ = conn.Close() // some other server's
		}
	}
	if b.web.Accepted() != before {
		b.t.Fatal("the private web server can be reached without a tunnel")
	}
}

// tunnel returns the Caddyfile of a tunnel to the bastion, with more options.
func (b *bastion) tunnel(name string, options ...string) string {
	return b.tunnelTo(name, "deploy@"+b.Addr(), append([]string{"identity_file " + b.key}, options...)...)
}

// tunnelTo is tunnel with another address, and without an identity. A login may take
// long on a machine that does much at once.
func (b *bastion) tunnelTo(name, address string, options ...string) string {
	if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "connect_timeout ") }) {
		options = append([]string{"connect_timeout 30s"}, options...)
	}
	options = append([]string{"host_key " + b.HostKey.Fingerprint()}, options...)
	return fmt.Sprintf("tunnel %s %s {\n%s\n}\n", name, address, strings.Join(options, "\n"))
}

// link puts a network that can break between Caddy and the bastion.
func (b *bastion) link() *sshtest.Link { return sshtest.NewLink(b.t, b.Addr()) }

// serveTCP runs handle for each connection to an address inside.
func (b *bastion) serveTCP(address string, handle func(*net.TCPConn)) {
	go accept(b.netns.Listen("tcp", address), handle)
}

// relay connects the clients of a listener, in whatever network that is, to an
// address in ours.
func relay(t *testing.T, l net.Listener, address string) {
	go accept(l, func(client *net.TCPConn) {
		server, err := net.Dial("tcp", address)
		if err != nil {
			t.Logf("relay: %v", err)
			return
		}
		defer func() { _ = server.Close() }()
		// Returns when the client has ended; then so does the server.
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		}()
		_, _ = io.Copy(client, server)
	})
}

// accept runs handle for each connection. It returns when the listener is
// closed, which the test's end does.
func accept(l net.Listener, handle func(*net.TCPConn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			handle(conn.(*net.TCPConn))
		}()
	}
}

// proxied is a site's way to the web server.
const proxied = "reverse_proxy web.internal:80 {\ntransport ssh_tunnel prod\n}"

// patient is proxied for requests none of which may fail: a machine that does much
// at once takes its time to open a channel. Whoever waits as long as that does so
// for longer than its client.
const patient = "reverse_proxy web.internal:80 {\ntransport ssh_tunnel prod {\ndial_timeout 10m\n}\n}"

// caddyfile puts a Caddyfile together: tunnels, more global options and the
// body of the site at c.port. The log is JSON, and everything is logged.
func (c *caddy) caddyfile(tunnels, global, site string) string {
	return fmt.Sprintf("{\ndebug\nauto_https off\nssh_tunnel {\n%s}\n%s\n}\n%s", tunnels, global, c.site(c.port, site))
}

// site returns the Caddyfile of one more site.
func (c *caddy) site(port int, body string) string {
	return fmt.Sprintf("http://127.0.0.1:%d {\nbind 127.0.0.1\n%s\n}\n", port, body)
}

// serve starts Caddy with the tunnel prod and a site that leads through it.
func (b *bastion) serve(options ...string) *caddy {
	b.t.Helper()
	return b.serveSite(proxied, options...)
}

// serveSite is serve with another site.
func (b *bastion) serveSite(site string, options ...string) *caddy {
	b.t.Helper()
	return startCaddy(b.t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod", options...), "", site)
	})
}

// explained returns how many connections a tunnel needs because the machine, which
// does much at once, has let one stall for seconds, or because one was lost; or for
// requests beside what takes longer than a second.
func (c *caddy) explained() int {
	log := c.log()
	return strings.Count(log, `"msg":"connection stalled`) + strings.Count(log, `"msg":"connection lost`) +
		strings.Count(log, `"reason":"requests beside transfers"`)
}

// wantLogins fails the test unless sshd saw so many logins, but for those that the
// log explains.
func (c *caddy) wantLogins(s *sshtest.SSHD, want int) {
	c.t.Helper()
	if n := s.Logins(); n < want || n > want+c.explained() {
		c.t.Errorf("sshd saw %d logins, want %d", n, want)
	}
}
