//go:build unix

package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// startProgram starts a program that listens on the port that its arguments get, and
// returns its address.
func startProgram(t *testing.T, name string, args func(host, port string) []string) string {
	t.Helper()
	path := sshtest.Program(t, name)
	addr := freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	sshtest.NewProcess(t, exec.Command(path, args(host, port)...)).WaitListening(t, "tcp", addr)
	return addr
}

// tinyproxy starts an HTTP proxy that connects to any port.
func tinyproxy(t *testing.T, config string) string {
	return startProgram(t, "tinyproxy", func(host, port string) []string {
		file := sshtest.WriteFile(t, "tinyproxy.conf", fmt.Appendf(nil, "Listen %s\nPort %s\nTimeout 600\nMaxClients 50\nLogLevel Error\nLogFile \"%s\"\n%s\n", host, port, filepath.Join(t.TempDir(), "log"), config))
		_ = os.Chmod(filepath.Dir(file), 0o755)
		return []string{"-d", "-c", file}
	})
}

func microsocks(t *testing.T, args ...string) string {
	return startProgram(t, "microsocks", func(host, port string) []string {
		return append([]string{"-i", host, "-p", port}, args...)
	})
}

// TestProxy goes through the real ones, with and without a login.
func TestProxy(t *testing.T) {
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
	cfg.User = d.User
	secrets := map[string]string{"{user}": "alice", "{password}": "s3cret", "{wrong}": "wr0ng"}
	cfg.Resolve = func(s string) (string, error) {
		if v, ok := secrets[s]; ok {
			return v, nil
		}
		return "", errors.New("unknown")
	}
	addr := listen(t, echo)
	noHTTP := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1024))
		_, _ = io.WriteString(c, "+OK ready\r\n\r\n")
	})
	for _, c := range []struct {
		name  string
		proxy func(t *testing.T) dial.Proxy
		err   string
	}{
		{"http", func(t *testing.T) dial.Proxy { return dial.Proxy{Scheme: "http", Address: tinyproxy(t, "")} }, ""},
		{"http login", func(t *testing.T) dial.Proxy {
			return dial.Proxy{Scheme: "http", Address: tinyproxy(t, "BasicAuth alice s3cret"), User: "{user}", Password: "{password}"}
		}, ""},
		{"http no login", func(t *testing.T) dial.Proxy {
			return dial.Proxy{Scheme: "http", Address: tinyproxy(t, "BasicAuth alice s3cret")}
		}, `it answered CONNECT with "407 Proxy Authentication Required"; write user info`},
		{"http wrong login", func(t *testing.T) dial.Proxy {
			return dial.Proxy{Scheme: "http", Address: tinyproxy(t, "BasicAuth alice s3cret"), User: "{user}", Password: "{wrong}"}
		}, "check the user info"},
		{"http port not allowed", func(t *testing.T) dial.Proxy {
			return dial.Proxy{Scheme: "http", Address: tinyproxy(t, "ConnectPort 443")}
		}, "allow CONNECT to that port there"},
		{"http is not", func(*testing.T) dial.Proxy { return dial.Proxy{Scheme: "http", Address: noHTTP} }, "is not HTTP"},
		{"socks5", func(t *testing.T) dial.Proxy { return dial.Proxy{Scheme: "socks5", Address: microsocks(t)} }, ""},
		{"socks5 login", func(t *testing.T) dial.Proxy {
			return dial.Proxy{Scheme: "socks5", Address: microsocks(t, "-u", "alice", "-P", "s3cret"), User: "{user}", Password: "{password}"}
		}, ""},
		{"socks5 no login", func(t *testing.T) dial.Proxy {
			return dial.Proxy{Scheme: "socks5", Address: microsocks(t, "-u", "alice", "-P", "s3cret")}
		}, "write user info"},
		{"socks5 wrong login", func(t *testing.T) dial.Proxy {
			return dial.Proxy{Scheme: "socks5", Address: microsocks(t, "-u", "alice", "-P", "s3cret"), User: "{user}", Password: "{wrong}"}
		}, "check the user info"},
		{"refused", func(*testing.T) dial.Proxy { return dial.Proxy{Scheme: "socks5", Address: "127.0.0.1:1"} }, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := cfg
			proxy := c.proxy(t)
			cfg.Name, cfg.Proxy = c.name, &proxy
			set := quick()
			set.ConnectTimeout = sshtest.Patience / 2
			logs := observed(&set)
			h := open(t, cfg, set)
			conn, err := dialFor(t, h, addr, sshtest.Patience)
			if c.err == "" {
				if err != nil {
					t.Fatal(err)
				}
				roundTrip(t, conn)
				_ = conn.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), proxy.String()) {
				t.Fatalf("got %v, want %q of %s", err, c.err, proxy.String())
			}
			for _, secret := range secrets {
				if strings.Contains(fmt.Sprint(err, logs.All()), secret) {
					t.Errorf("%q is shown: %v", secret, err)
				}
			}
		})
	}
}

// alive reports whether a process is there, be it a zombie.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// TestProxyCommand: it carries the connection, its words are logged, and it ends
// with the connection, together with what it has started.
func TestProxyCommand(t *testing.T) {
	t.Setenv(subprocess.Allow, "1")
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
	cfg.User = d.User
	pids := filepath.Join(t.TempDir(), "pids")
	nc := sshtest.Program(t, "nc")
	// A script that goes on when its child has ended, and is hard to end.
	script := `trap '' TERM; echo "for $3" >&2; ` + nc + ` "$1" "$2" & echo $$ $! >` + pids + `; wait; sleep 100`
	cfg.ProxyCommand = []string{"sh", "-c", script, "sh", "%h", "%p", "%r at 100%%"}
	// A job in the background has no standard input, unless a flag says so.
	cfg.ProxyCommand[2] = strings.Replace(script, `"$2" &`, `"$2" <&3 &`, 1)
	cfg.ProxyCommand[2] = "exec 3<&0; " + cfg.ProxyCommand[2]
	set := quick()
	logs := observed(&set)
	h := open(t, cfg, set)
	c := mustDial(t, h, listen(t, echo))
	roundTrip(t, c)
	if n := logs.FilterMessage("command says").FilterField(zap.String("line", "for "+d.User+" at 100%")).Len(); n != 1 {
		t.Errorf("%d lines with its words: %v", n, logs.All())
	}
	content, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	closeAndWait(t, h)
	for field := range strings.FieldsSeq(string(content)) {
		pid, _ := strconv.Atoi(field)
		sshtest.Eventually(t, 10*time.Second, "the end of process "+field, func() bool { return !alive(pid) })
	}
}

// TestProxyCommandFails: the error says how.
func TestProxyCommandFails(t *testing.T) {
	t.Setenv(subprocess.Allow, "1")
	for _, c := range []struct {
		argv []string
		err  string
	}{
		{[]string{"/nonexistent"}, "no such file"},
		{[]string{"sh", "-c", "echo not today >&2; exit 3"}, `proxy_command "sh" has ended (exit status 3, "not today")`},
		{[]string{"true"}, `proxy_command "true" has ended (exit status 0)`},
		{[]string{"sleep", "100"}, "within connect_timeout"},
	} {
		cfg := configFor(t, sshtest.NewKey(), sshtest.NewKey().Fingerprint(), "b.example:22")
		cfg.ProxyCommand = c.argv
		set := quick()
		set.ConnectTimeout = sshtest.Patience
		if c.argv[0] == "sleep" {
			set.ConnectTimeout = 500 * time.Millisecond
		}
		// A command that ends at once may have closed its input before we wrote to
		// it, which is then what is known first.
		var err error
		for range 5 {
			h := open(t, cfg, set)
			_, err = dialFor(t, h, "web:80", sshtest.Patience)
			closeAndWait(t, h)
			if err == nil || strings.Contains(err.Error(), c.err) {
				break
			}
			cfg.Name += "x" // a tunnel of its own, without what is known of this one
		}
		if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: got %v, want %q", c.argv, err, c.err)
		}
	}
}

// TestProxyAnswers: an error says what a proxy wants, and names it where it is
// silent, or answers with a page of its own.
func TestProxyAnswers(t *testing.T) {
	sshtest.Takes(t, 6*time.Second)
	t.Parallel()
	const page = "<!DOCTYPE html><html><head><title>Log in</title></head><body>somebody hunter2</body></html>"
	answer := func(lines ...string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1024))
			_, _ = io.WriteString(c, strings.Join(lines, "\r\n"))
			_, _ = io.Copy(io.Discard, c)
		}
	}
	atOnce := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, c)
		}
	}
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	socks := func(method byte, then string) func(net.Conn) { // that connects
		return func(c net.Conn) {
			_, _ = c.Read(make([]byte, 64))
			_, _ = c.Write([]byte{5, method})
			_, _ = c.Read(make([]byte, 512))
			_, _ = io.WriteString(c, "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"+then)
			_, _ = io.Copy(io.Discard, c)
		}
	}
	required := "HTTP/1.1 407 Proxy Authentication Required"
	for name, c := range map[string]struct {
		scheme, user string
		serve        func(net.Conn)
		cause        failure.Cause
		wants        []string
	}{
		"NTLM":              {"http", "", answer(required, "Proxy-Authenticate: Negotiate", "Proxy-Authenticate: NTLM", "", ""), failure.CauseProxy, []string{"wants a login by Negotiate or NTLM", "only Basic is supported", "cntlm"}},
		"NTLM in one line":  {"http", "somebody", answer(required, "Proxy-Authenticate: Negotiate, NTLM", "", ""), failure.CauseProxy, []string{"by Negotiate or NTLM, but only Basic"}},
		"NTLM of a 401":     {"http", "somebody", answer("HTTP/1.1 401 No", "WWW-Authenticate: NTLM TlRMTVNTUAAC==", "", ""), failure.CauseProxy, []string{"by NTLM, but only Basic"}},
		"Digest":            {"http", "somebody", answer(required, `Proxy-Authenticate: Digest realm="a, Basic", qop="auth,auth-int", nonce="x"`, "", ""), failure.CauseProxy, []string{"by Digest, but only Basic"}},
		"Digest or Basic":   {"http", "somebody", answer(required, `Proxy-Authenticate: Digest realm="a", nonce="x", basic realm="b"`, "", ""), failure.CauseProxy, []string{"check the user info"}},
		"no scheme":         {"http", "", answer(required, "", ""), failure.CauseProxy, []string{"write user info"}},
		"page":              {"http", "somebody", answer("HTTP/1.1 200 OK", "Content-Type: text/html", "", page), failure.CauseProxy, []string{"web page instead of an SSH banner", "Log in", "log in on that page"}},
		"page at once":      {"http", "", atOnce("HTTP/1.1 200 OK\r\n\r\n" + page), failure.CauseProxy, []string{"web page instead of an SSH banner"}},
		"page by SOCKS":     {"socks5", "", socks(0, "HTTP/1.0 200 OK\r\n\r\n"+page), failure.CauseProxy, []string{"web page instead of an SSH banner"}},
		"other words":       {"http", "", answer("HTTP/1.1 200 OK", "", "220 mail.example ESMTP\r\n"), failure.CauseNotSSH, []string{"through proxy", `it sent "220 mail.example ESMTP"`}},
		"shut out":          {"http", "", answer("HTTP/1.1 200 OK", "", "Not allowed at this time\r\n"), failure.CauseNotSSH, []string{"PerSourcePenalties"}},
		"silent":            {"http", "", silent, failure.CauseProxy, []string{"it accepted the connection, but did not answer within connect_timeout (3s)"}},
		"silent SOCKS":      {"socks5", "", silent, failure.CauseProxy, []string{"it accepted the connection, but did not answer within connect_timeout (3s)"}},
		"silent bastion":    {"http", "", answer("HTTP/1.1 200 OK", "", ""), failure.CauseNoBanner, []string{"connected, but no SSH banner came"}},
		"silent by SOCKS":   {"socks5", "", socks(0, ""), failure.CauseNoBanner, []string{"connected, but no SSH banner came"}},
		"GSSAPI":            {"socks5", "somebody", socks(0xff, ""), failure.CauseProxy, []string{"such as GSSAPI", "only user and password are supported"}},
		"HTTP, not SOCKS":   {"socks5", "", answer("HTTP/1.1 400 Bad Request", "", ""), failure.CauseProxy, []string{"write http:// in place of socks5://"}},
		"redirect to login": {"http", "", answer("HTTP/1.1 302 Found", "Location: http://login.example/", "", ""), failure.CauseProxy, []string{`"302 Found"`, "a page of its own"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := configFor(t, sshtest.NewKey(), sshtest.NewKey().Fingerprint(), "bastion.example:22")
			cfg.Name, cfg.Proxy = name, &dial.Proxy{Scheme: c.scheme, Address: listen(t, c.serve), User: c.user}
			if c.user != "" {
				cfg.Proxy.Password = "hunter2"
			}
			set := quick()
			set.ConnectTimeout = 3 * time.Second
			err := open(t, cfg, set).Connect(t.Context())
			if err == nil || failure.CauseOf(err) != c.cause || c.user != "" && strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("got %v of cause %q, want %q", err, failure.CauseOf(err), c.cause)
			}
			if name != "shut out" { // which is the bastion's answer
				c.wants = append(c.wants, cfg.Proxy.String())
			}
			for _, want := range c.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if _, err := connect.Scan(t.Context(), cfg, nil, 3*time.Second); err == nil || failure.CauseOf(err) != c.cause || !strings.Contains(err.Error(), c.wants[len(c.wants)-1]) {
				t.Errorf("scan: got %v of cause %q, want %q and %q", err, failure.CauseOf(err), c.cause, c.wants)
			}
		})
	}
}
