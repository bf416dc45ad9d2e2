//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// refusals_test.go has all that can be wrong with a bastion, or with what it is
// asked for: each must have its own status and its own words in the log.

func TestRefusals(t *testing.T) {
	t.Parallel()
	b := newBastion(t, `
PasswordAuthentication yes
Match User second
	AllowTcpForwarding no
	AllowStreamLocalForwarding no
Match User third
	PermitOpen 127.0.0.1:1
`)
	// A network in which no host answers to its address.
	if out, err := b.netns.Command("ip", "addr", "add", "203.0.113.1/24", "dev", "eth0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	silent := silentServer(t)
	key := "identity_file " + b.key
	wrongKey := "identity_file " + sshtest.WriteFile(t, "wrong", sshtest.NewKey().PEM(""))
	other := sshtest.NewKey()
	elsewhere := sshtest.WriteFile(t, "known_hosts", []byte(sshtest.KnownHostsLine("192.0.2.1:22", b.HostKey.PublicKey())+"\n"))
	another := sshtest.WriteFile(t, "known_hosts", []byte(sshtest.KnownHostsLine(b.Addr(), other.PublicKey())+"\n"))
	to := func(name, user string, options ...string) string {
		return b.tunnelTo(name, user+"@"+b.Addr(), options...)
	}
	known := func(name, file string) string {
		return fmt.Sprintf("tunnel %s deploy@%s {\n%s\nknown_hosts %s\n}\n", name, b.Addr(), key, file)
	}
	tunnels := b.tunnel("prod") +
		to("key", "deploy", wrongKey) +
		to("user", "nosuchuser", key) +
		to("password", "deploy", "password {env.WRONG_PASSWORD}") +
		to("prohibited", "second", key) +
		to("permitopen", "third", key) +
		known("unknown", elsewhere) +
		known("mismatch", another) +
		b.tunnelTo("refused", "deploy@127.0.0.1:1", key) +
		b.tunnelTo("noname", "deploy@bastion..invalid", key) +
		b.tunnelTo("silent", "deploy@"+silent, key, "connect_timeout 1s")

	const down, bad = http.StatusServiceUnavailable, http.StatusBadGateway
	cases := []struct {
		tunnel, upstream string
		status           int
		words            []string
	}{
		{"key", "web.internal:80", down, []string{"authentication as \"deploy\" failed", "refused: publickey", "authorized_keys"}},
		{"user", "web.internal:80", down, []string{"authentication as \"nosuchuser\" failed"}},
		{"password", "web.internal:80", down, []string{"authentication as \"deploy\" failed", "refused: password", "check user and password"}},
		{"unknown", "web.internal:80", down, []string{"unknown", b.HostKey.Fingerprint()}},
		{"mismatch", "web.internal:80", down, []string{"mismatch", b.HostKey.Fingerprint(), another}},
		{"refused", "web.internal:80", down, []string{"connecting to \"127.0.0.1:1\"", "connection refused"}},
		{"noname", "web.internal:80", down, []string{"connecting to \"bastion..invalid:22\"", "no such host"}},
		{"silent", "web.internal:80", down, []string{"no SSH banner", "connect_timeout (1s)"}},
		{"prohibited", "web.internal:80", bad, []string{"opening channel to \"web.internal:80\"", "administratively prohibited", "AllowTcpForwarding"}},
		{"permitopen", "web.internal:80", bad, []string{"administratively prohibited", "PermitOpen"}},
		{"prohibited", "unix//run/web.sock", bad, []string{"opening channel to \"/run/web.sock\"", "AllowStreamLocalForwarding", "the bastion's log"}},
		{"prod", "unknown.invalid:80", bad, []string{"opening channel to \"unknown.invalid:80\"", "unknown name"}},
		{"prod", "web.internal:81", bad, []string{"opening channel to \"web.internal:81\"", "connection refused"}},
		// sshd says why if it had to wait for that...
		{"prod", "203.0.113.9:80", bad, []string{"opening channel to \"203.0.113.9:80\"", "unreachable"}},
		// ... but not if the error comes at once.
		{"prod", "198.51.100.1:80", bad, []string{"opening channel to \"198.51.100.1:80\"", "the bastion's log"}},
		{"prod", "unix//nonexistent/socket", bad, []string{"opening channel to \"/nonexistent/socket\""}},
	}
	var site strings.Builder
	for i, tc := range cases {
		fmt.Fprintf(&site, "handle /%d {\nreverse_proxy %s {\ntransport ssh_tunnel %s {\ndial_timeout 10s\n}\n}\n}\n", i, tc.upstream, tc.tunnel)
	}
	fmt.Fprintf(&site, "handle {\n%s\n}\n", proxied)
	c := startCaddy(t, func(c *caddy) string { return c.caddyfile(tunnels, "", site.String()) }, "WRONG_PASSWORD=hunter2-wrong")
	c.wantServed()
	for i, tc := range cases {
		path := fmt.Sprintf("/%d", i)
		sshtest.Eventually(t, patience, fmt.Sprintf("%s: status %d", tc.tunnel, tc.status), func() bool {
			a := c.get(path)
			if a.err != nil {
				t.Fatalf("%s to %s: %v", tc.tunnel, tc.upstream, a)
			}
			// Until the first attempt has failed, requests wait for it, at most
			// dial_timeout.
			return a.status == tc.status
		})
		if words := append([]string{"http.log.error", "tunnel \"" + tc.tunnel + "\"", path}, tc.words...); !c.logged(words...) {
			t.Errorf("%s to %s: the log does not have %q", tc.tunnel, tc.upstream, words)
		}
		if tc.status == down && !c.logged(append([]string{"connecting failed", "tunnel:" + tc.tunnel}, tc.words...)...) {
			t.Errorf("%s: no line for the tunnel itself", tc.tunnel)
		}
	}
	c.wantServed() // the others did no harm
	if strings.Contains(c.log(), "hunter2") {
		t.Error("the log has a secret")
	}
	// Insisting would have the bastion ban us.
	if n := strings.Count(b.Log(), "Failed password for deploy"); n > 5 {
		t.Errorf("the wrong password was tried %d times", n)
	}
}

// silentServer accepts connections and says nothing.
func silentServer(t *testing.T) string {
	link := sshtest.NewLink(t, sshtest.NewBastion(t, sshtest.BastionOptions{}).Addr())
	link.Freeze(sshtest.Both)
	return link.Addr()
}

// TestRefusedAtLoad has what a tunnel cannot do refused by its name, and not
// ignored.
func TestRefusedAtLoad(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := b.serve()
	c.wantServed()
	transport := func(upstream, options string) string {
		return c.caddyfile(b.tunnel("prod"), "", fmt.Sprintf("reverse_proxy %s {\ntransport ssh_tunnel prod {\n%s\n}\n}", upstream, options))
	}
	for word, config := range map[string]string{
		"resolvers":           transport("web.internal:80", "resolvers 127.0.0.1"),
		"local_address":       transport("web.internal:80", "local_address 127.0.0.1"),
		"dial_fallback_delay": transport("web.internal:80", "dial_fallback_delay 1s"),
		"keepalive_interval":  transport("web.internal:80", "keepalive_interval 1s"),
		"versions":            transport("https://web.internal", "versions 3"),
		"udp":                 transport("udp/web.internal:80", ""),
		"permit_open":         transport("{query.to}:80", ""),
		"configured: prod":    strings.Replace(transport("web.internal:80", ""), "transport ssh_tunnel prod", "transport ssh_tunnel prdo", 1),
		"ALLOW_COMMANDS":      c.caddyfile(b.tunnel("prod", "proxy_command nc %h %p"), "", proxied),
	} {
		if err := c.load(config); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", word, err)
		}
	}
	c.wantServed()
}
