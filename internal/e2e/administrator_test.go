//go:build linux

package e2e

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// administrator_test.go takes the pages of the manual for whoever sets the bastion up
// at their word: the block for sites, the ports below 1024, and sshd's log.

// login logs in with the key of b, and returns the error of one that is refused.
func (b *bastion) login(t *testing.T, user string) (*ssh.Client, error) {
	t.Helper()
	signer, err := ssh.NewSignerFromSigner(b.identity.Private())
	if err != nil {
		t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", b.Addr(), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(b.HostKey.PublicKey()), Timeout: patience,
	})
	if err == nil {
		t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

// listens reports whether the bastion would listen on a port, and on which of its
// addresses. An empty host is all of them.
func (b *bastion) listens(t *testing.T, client *ssh.Client, host string, port uint32) (what string) {
	t.Helper()
	request := ssh.Marshal(struct {
		Host string
		Port uint32
	}{host, port})
	ok, _, err := client.SendRequest("tcpip-forward", true, request)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return "refused"
	}
	defer func() { _, _, _ = client.SendRequest("cancel-tcpip-forward", true, request) }()
	conn, err := net.Dial("tcp", net.JoinHostPort(b.netns.Addr(), fmt.Sprint(port)))
	if err != nil {
		return "loopback"
	}
	_ = conn.Close()
	return "everywhere"
}

// lowerPorts does what the page says about ports below 1024.
func (b *bastion) lowerPorts(t *testing.T) {
	t.Helper()
	line := strings.TrimSpace(documentBlock(t, administrator, "net.ipv4."))
	if out, err := b.netns.Command("sysctl", "-w", strings.ReplaceAll(line, " ", "")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestServingBlock: a site may be served from the ports that the block names, visitors
// reach them, and nothing else is permitted; without any word of it something is.
func TestServingBlock(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "")
	web := serveSocket(t) // in a directory that everybody may write to
	block := documentBlock(t, "docs/serving-from-the-bastion.md", "Match User caddy\n")
	lines := strings.Split(strings.TrimSpace(strings.Replace(block, "User caddy", "User deploy", 1)), "\n")
	can := func(lines []string) (rights []string) {
		s := b.strictly(t, byConfig(lines))
		client, err := s.login(t, "deploy")
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range []uint32{80, 443, 8080} {
			rights = append(rights, fmt.Sprintf("%d %s", port, s.listens(t, client, "", port)))
		}
		socket := fmt.Sprintf("%s.%d", web, s.Port)
		if ok, _, _ := client.SendRequest("streamlocal-forward@openssh.com", true, ssh.Marshal(struct{ Path string }{socket})); ok {
			rights = append(rights, "a socket")
		}
		if conn, err := client.Dial("tcp", s.Addr()); err == nil {
			_ = conn.Close()
			rights = append(rights, "to dial")
		}
		if _, err := client.NewSession(); err == nil {
			rights = append(rights, "a session")
		}
		return rights
	}

	want := []string{"80 refused", "443 refused", "8080 refused"}
	if got := can(lines); !slices.Equal(got, want) {
		t.Errorf("while the ports are root's: %q", got)
	}
	b.lowerPorts(t)
	want = []string{"80 everywhere", "443 everywhere", "8080 refused"}
	if got := can(lines); !slices.Equal(got, want) {
		t.Errorf("with the block: %q", got)
	}
	// The doctor asks for no more.
	c := newCaddy(t)
	site := "http://:80 {\nbind ssh_tunnel/vps/*\nrespond ok\n}\n"
	if doc := c.check(c.caddyfile(b.strictly(t, byConfig(lines)).tunnel("vps"), "", "respond ok") + site); !doc.OK {
		t.Errorf("check: %+v", doc)
	}
	for i, line := range lines {
		// ClientAliveInterval permits nothing.
		if i == 0 || strings.Contains(line, "ClientAliveInterval") {
			continue
		}
		if got := can(slices.Delete(slices.Clone(lines), i, i+1)); slices.Equal(got, want) {
			t.Errorf("the block does not need %q", line)
		}
	}
}

// TestSSHDLog makes sshd log each line that the page lists.
func TestSSHDLog(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "")
	b.netns.SetHosts("127.0.0.1 web.internal")
	b.netns.WriteEtc("passwd", string(readFile(t, b.netns.Etc("passwd")))+"locked:!:60190:65534::/nonexistent:/bin/sh\n")
	s := b.strictly(t, strictness{config: "LogLevel INFO\nMaxSessions 0\nPermitOpen web.internal:1\nPermitListen *:443\n"})

	client, err := s.login(t, "deploy")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"web.internal:1", "web.internal:2"} {
		if _, err := client.Dial("tcp", target); err == nil {
			t.Errorf("%s can be reached", target)
		}
	}
	for _, port := range []uint32{443, 444} {
		if got := s.listens(t, client, "", port); got != "refused" {
			t.Errorf("listening on %d: %s", port, got)
		}
	}
	if _, err := client.NewSession(); err == nil {
		t.Error("there is a session")
	}
	if _, err := s.login(t, "locked"); err == nil {
		t.Error("a locked account is let in")
	}
	other := *s
	other.identity = sshtest.NewKey()
	if _, err := other.login(t, "deploy"); err == nil {
		t.Error("another key is let in")
	}
	banner, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := banner.Read(make([]byte, 256)); err != nil {
		t.Fatal(err)
	}
	_ = banner.Close()

	_, section, _ := strings.Cut(string(readFile(t, "../../"+administrator)), "\n## sshd's log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| (`.*`) \\|").FindAllStringSubmatch(section, -1)
	if len(rows) < 8 {
		t.Fatalf("the page has only %d lines", len(rows))
	}
	texts := strings.NewReplacer("User caddy", "User locked", "caddy", "deploy")
	for _, row := range rows {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			pattern := regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(texts.Replace(m[1])), "…", ".*"))
			sshtest.Eventually(t, patience, "sshd logs "+m[1], func() bool { return pattern.MatchString(s.Log()) })
		}
	}
}
