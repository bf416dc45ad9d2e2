//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestMisplacedKeys gives options that take a path or a name the text of a key, as
// a placeholder brings it: Caddy refuses it, goes on with what it has, and shows it
// nowhere.
func TestMisplacedKeys(t *testing.T) {
	t.Parallel()
	sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	good := fmt.Sprintf("tunnel good %s@%s {\nidentity_file %s\nknown_hosts %s\n}\n", sshd.User, sshd.Addr(), sshd.ClientKeyFile(), sshd.KnownHostsFile())
	// One that is down, whose error page shows all that there is to say.
	down := fmt.Sprintf("tunnel down %s@%s {\nidentity_file /nonexistent/key\nknown_hosts %s\n}\n", sshd.User, sshd.Addr(), sshd.KnownHostsFile())
	site := func(tunnel string) string {
		return "handle /" + tunnel + " {\nreverse_proxy a.internal:80 {\ntransport ssh_tunnel " + tunnel + "\n}\n}\n"
	}
	const errorPage = "handle_errors {\nrespond `{err.message}` {err.status_code}\n}\n"
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(good+down, "", site("good")+site("down")+errorPage)
	})

	seen := make(map[string]string) // what Caddy has said, by where
	page := func() {
		a := c.get("/down")
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "/nonexistent/key") {
			t.Errorf("the error page of a tunnel that is down: %d %q", a.status, a.body)
		}
		seen["the error page"] += a.body
	}
	page()
	texts := sshtest.Misplaced()
	maps.DeleteFunc(texts, func(what, _ string) bool { // the others are tried where that is quicker
		return !slices.Contains([]string{"OpenSSH key", "OpenSSH key in base64", "PEM key, its body alone", "certificate", "known_hosts file", "password longer than any name"}, what)
	})
	for what, text := range texts {
		value := "{file." + sshtest.WriteFile(t, "text", []byte(text)) + "}"
		for _, option := range []string{
			"identity_file %s", "certificate_file %s", "known_hosts %s", "host_key %s", "host_certificate_authority %s", "revoked_host_keys %s",
			"host_key_alias %s", "user %s", "host %s", "identity_agent %s", "proxy socks5://%s", "proxy_jump %s", "bind_address %s", "ssh_config %s",
			"ssh_config x %s", "permit_open %s", "local_forward unix/%s a:1", "remote_forward 1080 %s", "ciphers %s", "identity_file /keys/%s",
		} {
			if what == "certificate" && strings.HasPrefix(option, "host_") && !strings.Contains(option, "alias") {
				continue // which say that they are certificates
			}
			header := "tunnel bad u@127.0.0.1:1"
			if strings.HasPrefix(option, "user") || strings.HasPrefix(option, "host ") {
				header = "tunnel bad"
			}
			config := c.caddyfile(good+down+header+" {\n"+strings.ReplaceAll(option, "%s", value)+"\n}\n", "", site("good")+site("down")+site("bad")+errorPage)
			err := c.load(config)
			if err == nil {
				t.Errorf("%s in %q is taken", what, option)
				c.get("/bad")
				continue
			}
			seen["the error of "+option] += err.Error()
			if option == "identity_file %s" && what == "OpenSSH key" {
				for _, args := range [][]string{{"validate"}, {"adapt"}} {
					out, _ := c.configured(config, args...).CombinedOutput()
					seen[args[0]] += string(out)
				}
				for _, args := range [][]string{{"check", "--config", c.home + "/Caddyfile"}, {"check", "--json", "--config", c.home + "/Caddyfile"}, {"keyscan", "--tunnel", "bad", "--config", c.home + "/Caddyfile"}} {
					stdout, stderr, _ := c.ssh(args...)
					seen["caddy ssh-tunnel "+strings.Join(args[:len(args)-1], " ")] += stdout + stderr
				}
			}
		}
		// The environment's, which is read at each connect.
		agent := newCaddy(t, "SSH_AUTH_SOCK="+text)
		out, err := agent.configured(agent.caddyfile("tunnel a u@127.0.0.1:1 {\nidentity_agent SSH_AUTH_SOCK\nhost_key SHA256:"+strings.Repeat("A", 43)+"\n}\n", "", site("a")), "validate").CombinedOutput()
		if err == nil {
			t.Errorf("%s as SSH_AUTH_SOCK is taken", what)
		}
		seen["SSH_AUTH_SOCK"] += string(out)
		_, stderr, _ := c.ssh("forward", "-i", text, "1:a:1", "u@127.0.0.1:1")
		seen["caddy ssh-tunnel forward"] += stderr
	}
	page()
	for _, path := range []string{"/ssh_tunnel/tunnels", "/ssh_tunnel/tunnels/down", "/ssh_tunnel/ready", "/config/", "/metrics"} {
		seen[path] = c.fromAdmin(path)
	}
	for _, args := range [][]string{{"status"}, {"status", "--json"}} {
		stdout, stderr, _ := c.ssh(args...)
		seen["caddy ssh-tunnel "+strings.Join(args, " ")] = stdout + stderr
	}
	seen["the log"] = c.log()
	for where, shown := range seen {
		if shown == "" {
			t.Errorf("%s has nothing", where)
		}
		for what, text := range texts {
			if sshtest.Shows(shown, text) {
				t.Errorf("%s has the %s", where, what)
			}
		}
	}
	if !strings.Contains(seen["the error of identity_file %s"], "begins with -----BEGIN OPENSSH PRIVATE KEY-----), not a path; write it to a file and name that file") {
		t.Errorf("the error says %s", seen["the error of identity_file %s"])
	}
}

// TestKeyModeIsLogged: a private key that others can read is warned of, once.
func TestKeyModeIsLogged(t *testing.T) {
	t.Parallel()
	sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	key := sshtest.WriteFile(t, "key", readFile(t, sshd.ClientKeyFile()))
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	config := func(c *caddy) string {
		return c.caddyfile(fmt.Sprintf("tunnel prod %s@%s {\nidentity_file %s\nknown_hosts %s\n}\n", sshd.User, sshd.Addr(), key, sshd.KnownHostsFile()), "", "respond hello")
	}
	c := startCaddy(t, config)
	warned := func() bool { return c.logged("private key can be read by others", "path:"+key, "mode:0644", "prod") }
	sshtest.Eventually(t, patience, "a warning", warned)
	logins := func(n int) func() bool {
		return func() bool {
			return strings.Count(sshd.Log(), "Accepted publickey") >= n && c.status("prod").State == report.StateUp
		}
	}
	sshtest.Eventually(t, patience, "a login", logins(1))
	c.reload(config(c))
	c.post("/ssh_tunnel/tunnels/prod/reconnect")
	sshtest.Eventually(t, patience, "another login", logins(2))
	if n := strings.Count(c.log(), "private key can be read by others"); n != 1 {
		t.Errorf("%d warnings", n)
	}
}
