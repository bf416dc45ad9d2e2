//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// least_test.go takes what SECURITY.md and the manual have a bastion permit at its
// word: that it is enough for everything here, and that without any word of it
// something fails or somebody gets further.

// administrator is the page for whoever sets the bastion up.
const administrator = "docs/bastion-administrator.md"

// documentBlock returns the block of a document that begins with a text.
func documentBlock(t *testing.T, document, begin string) string {
	t.Helper()
	text := strings.ReplaceAll(string(readFile(t, "../../"+document)), "\n```text\n", "\n```\n")
	_, after, ok := strings.Cut(text, "\n```\n"+begin)
	block, _, ended := strings.Cut(after, "```\n")
	if !ok || !ended {
		t.Fatalf("%s has no block that begins with %q", document, begin)
	}
	return begin + block
}

// securityBlock returns the block of SECURITY.md that begins with a text. The page for
// the bastion's administrator has the same one.
func securityBlock(t *testing.T, begin string) string {
	t.Helper()
	block := documentBlock(t, "SECURITY.md", begin)
	if other := documentBlock(t, administrator, begin); other != block {
		t.Errorf("%s has\n%s\nand SECURITY.md\n%s", administrator, other, block)
	}
	return block
}

// securityMatch returns its Match block, for the user who logs in here.
func securityMatch(t *testing.T) []string {
	t.Helper()
	block := strings.Replace(securityBlock(t, "Match User caddy\n"), "User caddy", "User deploy", 1)
	return strings.Split(strings.TrimSpace(block), "\n")
}

// securityOptions returns the options of its line of authorized_keys.
func securityOptions(t *testing.T) []string {
	t.Helper()
	options, _, ok := strings.Cut(securityBlock(t, "restrict,"), " ssh-ed25519 ")
	if !ok {
		t.Fatal("the line of authorized_keys has no key")
	}
	return strings.Split(options, ",")
}

// strictness is what a bastion permits: an sshd_config(5), and options before the
// key in authorized_keys.
type strictness struct{ config, options string }

// byConfig is that of the Match block. All around it is as wrong as it can be.
func byConfig(lines []string) strictness {
	return strictness{config: "AllowTcpForwarding no\nX11Forwarding yes\n" + strings.Join(lines, "\n") + "\n"}
}

// byOptions is that of the line of authorized_keys.
func byOptions(options []string) strictness {
	return strictness{config: "X11Forwarding yes\n", options: strings.Join(options, ",")}
}

// newLeast returns a network with all that somebody could want, whose sshd is
// still to be started by strictly.
func newLeast(t *testing.T) *bastion {
	t.Helper()
	b := newBastion(t, "")
	b.netns.SetHosts("127.0.0.1 web.internal db.internal")
	b.serveTCP("127.0.0.1:5432", echo)
	b.serveTCP("127.0.0.1:81", echo)
	return b
}

// strictly starts another sshd in the network of b.
func (b *bastion) strictly(t *testing.T, s strictness) *bastion {
	t.Helper()
	strict := *b
	strict.t = t
	strict.keys = sshtest.WriteFile(t, "keys", []byte(strings.TrimSpace(s.options+" "+b.identity.AuthorizedKey())+"\n"))
	strict.SSHD = sshtest.StartSSHD(t, sshtest.SSHDOptions{
		Netns:  b.netns,
		Config: fmt.Sprintf("AuthorizedKeysCommand /bin/cat %s\nAuthorizedKeysCommandUser root\n%s", strict.keys, s.config),
	})
	return &strict
}

// What the blocks are to permit, and what the line of authorized_keys cannot
// keep anybody from.
var (
	needed = []string{"db.internal:5432", "listening on localhost:8080", "web.internal:80"}
	beyond = []string{"listening on a socket"}
)

// rights returns what whoever has the key can do, in order.
func (b *bastion) rights(t *testing.T, socket string) (rights []string) {
	t.Helper()
	client, err := b.login(t, "deploy")
	if err != nil {
		t.Fatal(err)
	}
	can := func(what string, may bool) {
		if may {
			rights = append(rights, what)
		}
	}
	for _, target := range []string{"web.internal:80", "db.internal:5432", "web.internal:81"} {
		conn, err := client.Dial("tcp", target)
		can(target, err == nil)
		if err == nil {
			_ = conn.Close()
		}
	}
	conn, err := client.Dial("unix", socket)
	can("a socket", err == nil)
	if err == nil {
		_ = conn.Close()
	}
	for _, listen := range []struct {
		Host string
		Port uint32
	}{{"localhost", 8080}, {"localhost", 8081}, {"", 8080}} {
		ok, _, err := client.SendRequest("tcpip-forward", true, ssh.Marshal(listen))
		can(fmt.Sprintf("listening on %s:%d", listen.Host, listen.Port), ok && err == nil)
		_, _, _ = client.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(listen))
	}
	ok, _, err := client.SendRequest("streamlocal-forward@openssh.com", true, ssh.Marshal(struct{ Path string }{fmt.Sprintf("%s.%d", socket, b.Port)}))
	can("listening on a socket", ok && err == nil)
	if _, _, err := client.OpenChannel("tun@openssh.com", ssh.Marshal(struct{ Mode, Unit uint32 }{1, 0x7fffffff})); err == nil {
		can("a network device", true)
	}

	session, err := client.NewSession()
	if refused, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
		t.Logf("no session: %v", refused)
		slices.Sort(rights)
		return rights
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, payload := range map[string][]byte{
		"auth-agent-req@openssh.com": nil,
		"pty-req": ssh.Marshal(struct {
			Term                         string
			Columns, Rows, Width, Height uint32
			Modes                        string
		}{"vt100", 80, 24, 0, 0, ""}),
		"x11-req": ssh.Marshal(struct {
			Single           bool
			Protocol, Cookie string
			Screen           uint32
		}{false, "MIT-MAGIC-COOKIE-1", "00112233445566778899aabbccddeeff", 0}),
	} {
		ok, err := session.SendRequest(name, true, payload)
		can(name, ok && err == nil)
	}
	out, _ := session.CombinedOutput("echo in $((40 + 2))")
	can("commands", strings.Contains(string(out), "in 42"))
	slices.Sort(rights)
	return rights
}

// instead returns list with some of it replaced, by pairs.
func instead(list []string, pairs ...string) []string {
	return strings.Split(strings.NewReplacer(pairs...).Replace(strings.Join(list, "\x00")), "\x00")
}

// TestLeastPrivilege: each of the two is enough, and the least that is.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	b := newLeast(t)
	socket := serveSocket(t)
	match, options := securityMatch(t), securityOptions(t)
	without := func(list []string, i int) []string { return slices.Delete(slices.Clone(list), i, i+1) }

	got := b.strictly(t, byConfig(match)).rights(t, socket)
	if !slices.Equal(got, needed) {
		t.Errorf("with the Match block: %q", got)
	}
	for i, line := range match {
		if i == 0 {
			continue
		}
		name, values, _ := strings.Cut(strings.TrimSpace(line), " ")
		less := map[string][]string{name: without(match, i)}
		if words := strings.Fields(values); len(words) > 1 {
			for j, word := range words {
				less[name+" "+word] = slices.Replace(slices.Clone(match), i, i+1, name+" "+strings.Join(without(words, j), " "))
			}
		}
		for what, lines := range less {
			if got := b.strictly(t, byConfig(lines)).rights(t, socket); slices.Equal(got, needed) {
				t.Errorf("the Match block does not need %s", what)
			} else {
				t.Logf("without %s: %q", what, got)
			}
		}
	}

	// Where nothing listens on the bastion, or nothing is dialed.
	for what, s := range map[string]strictness{
		"to dial, block":   byConfig(instead(match, "AllowTcpForwarding yes", "AllowTcpForwarding local", "PermitListen localhost:8080", "")),
		"to listen, block": byConfig(instead(match, "AllowTcpForwarding yes", "AllowTcpForwarding remote", "PermitOpen web.internal:80 db.internal:5432", "")),
		"to dial, line":    byOptions(instead(options, `permitlisten="localhost:8080"`, `permitlisten="localhost:1"`)),
		"to listen, line":  byOptions(instead(options, `permitopen="web.internal:80"`, `permitopen="localhost:1"`, `permitopen="db.internal:5432"`, `permitopen="localhost:1"`)),
	} {
		want := []string{"db.internal:5432", "web.internal:80"}
		if strings.HasPrefix(what, "to listen") {
			want = []string{"listening on localhost:8080"}
		}
		got := b.strictly(t, s).rights(t, socket)
		got = slices.DeleteFunc(got, func(right string) bool { return slices.Contains(beyond, right) && s.options != "" })
		if !slices.Equal(got, want) {
			t.Errorf("only %s: %q", what, got)
		}
	}

	enough := slices.Sorted(slices.Values(append(slices.Clone(needed), beyond...)))
	if got := b.strictly(t, byOptions(options)).rights(t, socket); !slices.Equal(got, enough) {
		t.Errorf("with the line of authorized_keys: %q", got)
	}
	for i, option := range options {
		if got := b.strictly(t, byOptions(without(options, i))).rights(t, socket); slices.Equal(got, enough) {
			t.Errorf("the line of authorized_keys does not need %s", option)
		} else {
			t.Logf("without %s: %q", option, got)
		}
	}
}

// TestLeastPrivilegeServes has everything that goes through a tunnel go through
// one to a bastion that permits no more than that, and ssh fail at the rest.
func TestLeastPrivilegeServes(t *testing.T) {
	t.Parallel()
	network := newLeast(t)
	for name, s := range map[string]strictness{"Match": byConfig(securityMatch(t)), "authorized_keys": byOptions(securityOptions(t))} {
		t.Run(name, func(t *testing.T) {
			b := network.strictly(t, s)
			local, raw := sshtest.NewPort(t), sshtest.NewPort(t)
			c := startCaddy(t, func(c *caddy) string {
				site := "handle /other {\nreverse_proxy web.internal:81 {\ntransport ssh_tunnel prod\n}\n}\nhandle {\n" + proxied + "\n}"
				wrapper := fmt.Sprintf("servers 127.0.0.1:%d {\nlistener_wrappers {\nssh_tunnel prod db.internal:5432\n}\n}\n", raw)
				return c.caddyfile(b.tunnel("prod", "server_alive_interval 1s", fmt.Sprintf("local_forward %d db.internal:5432", local)), wrapper, site) +
					c.site(raw, "") +
					"http://:8080 {\nbind ssh_tunnel/prod\nrespond \"hello from here\"\n}\n" +
					"http://:8081 {\nbind ssh_tunnel/prod\nrespond \"hello from nowhere\"\n}\n"
			})
			c.wantServed()
			dialRaw(t, raw).exchange("through the wrapper")
			dialRaw(t, local).exchange("through the forward")
			if got := b.curls("http://localhost:8080"); got != "hello from here" {
				t.Errorf("the site on the bastion says %q", got)
			}
			sshtest.Eventually(t, patience, "a probe is answered", func() bool { return c.status("prod").RTT > 0 })

			if a := c.get("/other"); a.status != http.StatusBadGateway || !c.logged("http.log.error", `opening channel to "web.internal:81": administratively prohibited (AllowTcpForwarding or PermitOpen on the bastion`) {
				t.Errorf("another target: %v", a)
			}
			sshtest.Eventually(t, patience, "the other port is refused", func() bool { return c.logged("the bastion refuses a remote forward", ":8081", "PermitListen") })
			fails(t, b.curl("http://localhost:8081"))

			for what, args := range map[string][]string{
				"a command":     {"DEST", "id"},
				"a shell":       {"-tt", "DEST"},
				"X11":           {"-X", "DEST", "id"},
				"the agent":     {"-A", "DEST", "id"},
				"sftp":          {"-s", "DEST", "sftp"},
				"another port":  {"-W", "web.internal:81", "DEST"},
				"another host":  {"-W", "127.0.0.2:80", "DEST"},
				"to listen":     {"-N", "-R", "8081:127.0.0.1:1", "DEST"},
				"dynamically":   {"-N", "-R", "8082", "DEST"},
				"a tunnel":      {"-N", "-w", "any:any", "DEST"},
				"all addresses": {"-N", "-R", "*:8080:127.0.0.1:1", "DEST"},
			} {
				if out, err := b.plainSSH(args...).CombinedOutput(); err == nil || strings.Contains(string(out), "uid=") {
					t.Errorf("ssh gets %s: %s", what, out)
				}
			}
		})
	}
}

// plainSSH returns an ssh command with the bastion's key. DEST is the bastion.
func (b *bastion) plainSSH(args ...string) *exec.Cmd {
	b.t.Helper()
	host, port, err := net.SplitHostPort(b.Addr())
	if err != nil {
		b.t.Fatal(err)
	}
	options := []string{
		"-F", "none", "-i", b.key, "-p", port, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ExitOnForwardFailure=yes",
		"-o", "UserKnownHostsFile=" + b.KnownHostsFile(), "-o", "ConnectTimeout=60",
	}
	for i, arg := range args {
		if arg == "DEST" {
			args[i] = "deploy@" + host
		}
	}
	cmd := client(b.t, "ssh", append(options, args...)...)
	cmd.Stdin, _ = os.Open(os.DevNull)
	cmd.Env = append(cmd.Env, "DISPLAY=:99")
	return cmd
}
