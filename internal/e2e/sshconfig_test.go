//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// sshconfig_test.go goes where ssh_config(5) files say.

// TestSSHConfig has a fleet's files: an Include, wildcards, Match host, tokens
// and a host to jump through, with one key each. The real ssh goes the same way
// by them, and a reload keeps both connections.
func TestSSHConfig(t *testing.T) {
	t.Parallel()
	inner := newBastion(t, "")
	edge := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	host, port, err := net.SplitHostPort(inner.Addr())
	if err != nil {
		t.Fatal(err)
	}
	known := sshtest.WriteFile(t, "known_hosts", []byte(edge.HostKeyLine()+"\n"+sshtest.KnownHostsLine("inner.internal", inner.HostKey.PublicKey())+"\n"))
	hosts := sshtest.WriteFile(t, "hosts", fmt.Appendf(nil, "Host edge\n\tHostName %s\n\tPort %d\n\tUser %s\n\tIdentityFile %s\n", edge.Host, edge.Port, edge.User, edge.ClientKeyFile()))
	file := sshtest.WriteFile(t, "config", fmt.Appendf(nil, `
Include %s
Host web
	HostName %s
	ProxyJump edge
	PreferredAuthentications publickey
	VerifyHostKeyDNS yes
Match host %s
	Port %s
	User deploy
	HostKeyAlias inner.internal
	IdentityFile %s/id_%%r
Match exec "touch %s/executed"
	User nobody
Host *
	IdentitiesOnly yes
	UserKnownHostsFile %s
	GlobalKnownHostsFile none
	StrictHostKeyChecking yes
`, hosts, host, host, port, filepath.Dir(inner.key), filepath.Dir(inner.key), known))
	if err := os.Rename(inner.key, filepath.Join(filepath.Dir(inner.key), "id_deploy")); err != nil {
		t.Fatal(err)
	}

	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile("tunnel prod {\nssh_config web "+file+"\n}\n", "", proxied)
	})
	c.wantServed()
	if !c.logged("ssh_tunnel", "Match exec is ignored") || !c.logged("ssh_tunnel", "VerifyHostKeyDNS is not supported") {
		t.Error("what is passed over is not logged")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(inner.key), "executed")); err == nil {
		t.Error("Match exec was executed")
	}
	download := c.stream("/size/100000000?chunk=10000&every=10ms")
	download.read(50_000)
	c.reload(c.caddyfile("tunnel prod {\nssh_config web "+file+"\n}\n", "", "header X-Again yes\n"+proxied))
	c.wantServed()
	download.read(500_000)
	if n := edge.Logins(); n != 1 {
		t.Errorf("the host on the way saw %d logins", n)
	}
	if strings.Count(inner.Log(), "Accepted publickey for deploy ") != 1 {
		t.Error("not one login as deploy")
	}

	// A line that does not parse is refused with its place, and changes nothing.
	broken := sshtest.WriteFile(t, "broken", []byte("Host web\n\tPort x\n"))
	err = c.load(c.caddyfile("tunnel prod {\nssh_config web "+broken+"\n}\n", "", proxied))
	if err == nil || !strings.Contains(err.Error(), broken+":2: Port: ") {
		t.Errorf("a broken file: %v", err)
	}
	if a := c.get("/hello"); a.status != http.StatusOK {
		t.Errorf("after a broken file: %v", a)
	}

	ssh := sshtest.Program(t, "ssh")
	// ssh executes what a Match says.
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.ReplaceAll(string(content), "Match exec", "Match host nowhere exec")
	cmd := exec.Command(ssh, "-F", sshtest.WriteFile(t, "plain", []byte(plain)), "-o", "BatchMode=yes", "web", "echo $USER")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "deploy") {
		t.Errorf("ssh: %v: %s", err, out)
	}
}
