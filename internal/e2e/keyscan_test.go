//go:build linux

package e2e

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// keyscan_test.go has `caddy ssh-tunnel keyscan` read real servers' keys.

// TestKeyscan: what it prints is a known_hosts file by which ssh and Caddy know
// the server, also one that only another reaches.
func TestKeyscan(t *testing.T) {
	t.Parallel()
	ecdsa := sshtest.NewECDSAKey()
	b := newBastion(t, "HostKey "+sshtest.WriteFile(t, "ecdsa", ecdsa.PEM(""))+"\n")
	home := newHome(t, b.HostKeyLine())
	c := &caddy{t: t, home: home}
	scan := func(args ...string) (string, error) {
		cmd := c.command(append([]string{"ssh-tunnel", "keyscan"}, args...)...)
		out, err := cmd.Output()
		return string(out), err
	}
	out, err := scan(b.Addr())
	if err != nil || !strings.Contains(out, "# "+b.Addr()+" SSH-2.0-OpenSSH_") {
		t.Fatalf("%v: %s", err, out)
	}
	for _, key := range []*sshtest.Key{b.HostKey, ecdsa} {
		line := sshtest.KnownHostsLine(b.Addr(), key.PublicKey())
		if !strings.Contains(out, line+"\n#   host_key "+key.Fingerprint()+" ") {
			t.Errorf("no %q in\n%s", line, out)
		}
	}

	// As a known_hosts file.
	known := sshtest.WriteFile(t, "known_hosts", []byte(out))
	doc := newCaddy(t).check((&caddy{}).caddyfile("tunnel prod deploy@"+b.Addr()+" {\nidentity_file "+b.key+"\nknown_hosts "+known+"\n}\n", "", "respond ok"), "prod")
	if !doc.OK {
		t.Errorf("check with these keys: %+v", doc)
	}
	if ssh, err := exec.LookPath("ssh"); err == nil {
		cmd := exec.Command(ssh, "-F", "none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile="+known, "-o", "StrictHostKeyChecking=yes",
			"-i", b.key, "-p", strconv.Itoa(b.Port), "deploy@"+b.Host, "true")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("ssh with these keys: %v: %s", err, out)
		}
	}

	// Behind the bastion: a server that listens inside alone.
	relay(t, b.netns.Listen("tcp", "127.0.0.1:2222"), b.Addr())
	out, err = scan("-J", "deploy@"+b.Addr(), "-i", b.key, "-p", "2222", "--json", "web.internal")
	var found struct {
		OK    bool `json:"ok"`
		Hosts []struct {
			Host string `json:"host"`
			Keys []struct {
				KnownHosts string `json:"known_hosts"`
			} `json:"keys"`
		} `json:"hosts"`
	}
	if jsonErr := json.Unmarshal([]byte(out), &found); err != nil || jsonErr != nil {
		t.Fatalf("%v, %v: %s", err, jsonErr, out)
	}
	if !found.OK || found.Hosts[0].Host != "web.internal:2222" || len(found.Hosts[0].Keys) != 2 ||
		!strings.HasPrefix(found.Hosts[0].Keys[0].KnownHosts, "[web.internal]:2222 ") {
		t.Errorf("behind a jump: %s", out)
	}

	// One that fails does not keep the others.
	out, err = scan("127.0.0.1:1", b.Addr())
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // Output returns it bare
	if !ok || exit.ExitCode() != 1 || !strings.Contains(out, "# 127.0.0.1:1: connecting to") || !strings.Contains(out, b.HostKey.Fingerprint()) {
		t.Errorf("%v: %s", err, out)
	}
}
