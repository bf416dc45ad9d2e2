//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// check_test.go breaks bastions, and has `caddy ssh-tunnel check` say in which
// way.

// checked is the document that `check --json` prints.
type checked struct {
	OK      bool            `json:"ok"`
	Tunnels []checkedTunnel `json:"tunnels"`
}

type checkedTunnel struct {
	Tunnel string       `json:"tunnel"`
	OK     bool         `json:"ok"`
	Hops   []checkedHop `json:"hops"`
}

type checkedHop struct {
	Hop   string        `json:"hop"`
	Host  string        `json:"host"`
	OK    bool          `json:"ok"`
	Steps []checkedStep `json:"steps"`
}

type checkedStep struct {
	Step       string  `json:"step"`
	Target     string  `json:"target"`
	OK         bool    `json:"ok"`
	NotReached bool    `json:"not_reached"`
	Took       float64 `json:"took"`
	Detail     string  `json:"detail"`
	Cause      string  `json:"cause"`
	Error      string  `json:"error"`
	Fix        string  `json:"fix"`
}

// failures are the steps that have failed, as "hop step cause".
func (t checkedTunnel) failures() (failed []string, steps []checkedStep) {
	for _, h := range t.Hops {
		for _, s := range h.Steps {
			if !s.OK && !s.NotReached {
				failed = append(failed, h.Hop+" "+s.Step+" "+s.Cause)
				steps = append(steps, s)
			}
		}
	}
	return failed, steps
}

// check runs the command with a Caddyfile, and returns what it prints.
func (c *caddy) check(caddyfile string, args ...string) (doc checked) {
	c.t.Helper()
	cmd := c.configured(caddyfile, append([]string{"ssh-tunnel", "check", "--json"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if jsonErr := json.Unmarshal(out, &doc); jsonErr != nil {
		c.t.Fatalf("check %q: %v, %v\n%s\n%s", args, err, jsonErr, out, stderr.String())
	}
	exit, _ := errors.AsType[*exec.ExitError](err)
	if doc.OK != (err == nil) || exit != nil && exit.ExitCode() != 1 {
		c.t.Errorf("check %q: ok is %v, and it ends with %v", args, doc.OK, err)
	}
	if want := "Error: not all is well; see above\n"; err != nil && stderr.String() != want {
		c.t.Errorf("check %q: stderr has %q", args, stderr.String())
	}
	return doc
}

// counted reports whether a metric of a tunnel has counted anything with a label.
func (c *caddy) counted(metric, label, value, tunnel string) bool {
	c.t.Helper()
	sample := fmt.Sprintf("caddy_ssh_tunnel_%s{%s=%q,tunnel=%q} ", metric, label, value, tunnel)
	_, after, ok := strings.Cut(c.fromAdmin("/metrics"), sample)
	return ok && !strings.HasPrefix(after, "0\n")
}

// unansweredAddress returns an address where connecting gets no answer whatever: a
// queue of connections to be accepted that is full.
func unansweredAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if controlErr := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	for full := false; !full; {
		conn, err := net.DialTimeout("tcp", l.Addr().String(), time.Second)
		if full = err != nil; full && !isTimeout(err) {
			t.Fatal(err)
		}
		if !full {
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
	return l.Addr().String()
}

// TestCheck breaks a bastion in each way, and a second hop in some. The command
// names hop, step and cause; the log, the status and the metrics of a running
// Caddy have the same cause; and what the command says to do about it helps.
func TestCheck(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	sign := func(name string, args ...string) string {
		file := filepath.Join(a.dir, name)
		a.keygen("-t", "ed25519", "-N", "", "-f", file)
		a.keygen(append([]string{"-s", filepath.Join(a.dir, "ca"), "-I", name, "-n", "deploy"}, append(args, file+".pub")...)...)
		return "identity_file " + file
	}
	expired, powerless := sign("expired", "-V", "-2h:-1h"), sign("powerless", "-O", "no-port-forwarding")
	b := newBastion(t, "PasswordAuthentication yes\nTrustedUserCAKeys "+filepath.Join(a.dir, "ca.pub")+`
Match User second
	AllowTcpForwarding no
Match User third
	PermitOpen web.internal:80
`)
	away := unansweredAddress(t)
	_, awayPort, _ := net.SplitHostPort(away)
	notSSH := httptest.NewServer(http.NotFoundHandler())
	defer notSSH.Close()
	key := "identity_file " + b.key
	wrongKey := "identity_file " + sshtest.WriteFile(t, "wrong", sshtest.NewKey().PEM(""))
	elsewhere := sshtest.WriteFile(t, "known_hosts", []byte(sshtest.KnownHostsLine("192.0.2.1:22", b.HostKey.PublicKey())+"\n"))
	changed := sshtest.WriteFile(t, "changed", []byte(sshtest.KnownHostsLine(b.Addr(), sshtest.NewKey().PublicKey())+"\n"))
	to := func(name, user string, options ...string) string {
		return b.tunnelTo(name, user+"@"+b.Addr(), options...)
	}
	known := func(name, file, more string) string {
		return fmt.Sprintf("tunnel %s deploy@%s {\n%s\nknown_hosts %s\n%s\n}\n", name, b.Addr(), key, file, more)
	}
	weak := newBastion(t, "Ciphers aes128-cbc")
	wrongPort := net.JoinHostPort(b.Host, "1")

	cases := []struct {
		name, tunnel, upstream string
		failed, fix            string // "hop step cause", and a part of the fix
		logged                 string // the cause that a running Caddy logs, or ""
	}{
		{"prod", b.tunnel("prod"), "web.internal:80", "", "", ""},
		{
			"weak", weak.tunnel("weak"), "web.internal:80",
			"weak key_exchange key_exchange", "if neither can be, it is taken with: ciphers aes128-cbc", "key_exchange",
		},
		{
			"down", b.tunnelTo("down", "deploy@"+away, key, "connect_timeout 1s"), "web.internal:80",
			"down reach no_answer", "nc -vz 127.0.0.1 " + awayPort, "no_answer",
		},
		{
			"port", b.tunnelTo("port", "deploy@"+wrongPort, key), "web.internal:80",
			"port reach connection_refused", "in place of 1: ss -tlnp", "connection_refused",
		},
		{
			"http", b.tunnelTo("http", "deploy@"+notSSH.Listener.Addr().String(), key), "web.internal:80",
			"http banner not_ssh", "write sshd's port behind the host", "not_ssh",
		},
		{
			"silent", b.tunnelTo("silent", "deploy@"+silentServer(t), key, "connect_timeout 1s"), "web.internal:80",
			"silent banner no_banner", "look what listens on port", "no_banner",
		},
		{
			"changed", known("changed", changed, ""), "web.internal:80",
			"changed host_key host_key_mismatch", "replace the expected key with: host_key " + b.HostKey.Fingerprint(), "host_key_mismatch",
		},
		{
			"unknown", known("unknown", elsewhere, ""), "web.internal:80",
			"unknown host_key host_key_unknown", "add to the tunnel: host_key " + b.HostKey.Fingerprint(), "host_key_unknown",
		},
		{
			"key", to("key", "deploy", wrongKey), "web.internal:80",
			"key authentication key_refused", "deploy@" + b.Host, "key_refused",
		},
		{
			"password", to("password", "deploy", "password {env.WRONG_PASSWORD}"), "web.internal:80",
			"password authentication password_refused", "correct what the placeholder of password stands for", "password_refused",
		},
		{
			"expired", to("expired", "deploy", expired), "web.internal:80",
			"expired authentication certificate_expired", "-n deploy -V +1d " + filepath.Join(a.dir, "expired.pub"), "certificate_expired",
		},
		{
			"powerless", to("powerless", "deploy", powerless), "web.internal:80",
			"powerless certificate certificate_without_forwarding", "-O permit-port-forwarding " + filepath.Join(a.dir, "powerless.pub"), "",
		},
		{
			"prohibited", to("prohibited", "second", key), "web.internal:80",
			"prohibited forwarding prohibited", "AllowTcpForwarding yes", "",
		},
		{
			"permitopen", to("permitopen", "third", key), "web.internal:81",
			"permitopen forwarding prohibited", "PermitOpen, if it is set, has to list web.internal:81", "",
		},
		{
			"closed", b.tunnel("closed"), "web.internal:8081",
			"closed target connection_refused", "start the server that should listen on web.internal:8081", "",
		},
		// The same at a second hop.
		{
			"hop-down", b.tunnelTo("hop-down", "deploy@127.0.0.1:2", key, "proxy_jump prod"), "web.internal:80",
			"hop-down reach proxy_jump", "start the server that should listen on 127.0.0.1:2", "proxy_jump",
		},
		{
			"hop-key", to("hop-key", "deploy", wrongKey, "proxy_jump prod"), "web.internal:80",
			"hop-key authentication key_refused", "deploy@" + b.Host, "key_refused",
		},
		{
			"hop-changed", known("hop-changed", changed, "proxy_jump prod"), "web.internal:80",
			"hop-changed host_key host_key_mismatch", "host_key " + b.HostKey.Fingerprint(), "host_key_mismatch",
		},
		{
			"hop-first", to("hop-first", "deploy", key, "proxy_jump key"), "web.internal:80",
			"key authentication key_refused", "deploy@" + b.Host, "proxy_jump",
		},
	}
	var tunnels, site strings.Builder
	for i, tc := range cases {
		tunnels.WriteString(tc.tunnel)
		fmt.Fprintf(&site, "handle /%d {\nreverse_proxy %s {\ntransport ssh_tunnel %s\n}\n}\n", i, tc.upstream, tc.name)
	}
	c := newCaddy(t, "WRONG_PASSWORD=hunter2-wrong")
	config := c.caddyfile(tunnels.String(), "", site.String())
	doc := c.check(config)
	found := map[string]checkedTunnel{}
	for _, tunnel := range doc.Tunnels {
		found[tunnel.Tunnel] = tunnel
	}
	if len(doc.Tunnels) != len(cases) {
		t.Errorf("%d tunnels were checked", len(doc.Tunnels))
	}
	for _, tc := range cases {
		tunnel := found[tc.name]
		failed, steps := tunnel.failures()
		switch {
		case tc.failed == "" && tc.name == "prod":
			// The bastions behind it that are wrong are its targets.
			for _, s := range steps {
				if s.Step != "target" || !strings.HasPrefix(s.Target, "127.0.0.1:2") {
					t.Errorf("%s: %+v", tc.name, s)
				}
			}
		case strings.Join(failed, ", ") != tc.failed || tunnel.OK:
			t.Errorf("%s: failed are %q, want %q: %+v", tc.name, failed, tc.failed, steps)
		case !strings.Contains(steps[0].Fix, tc.fix) || steps[0].Error == "":
			t.Errorf("%s: fix %q of error %q has no %q", tc.name, steps[0].Fix, steps[0].Error, tc.fix)
		}
	}
	for _, h := range found["hop-first"].Hops {
		if h.Hop == "hop-first" && (h.OK || len(h.Steps) == 0 || !h.Steps[0].NotReached) {
			t.Errorf("the hop behind one that has failed: %+v", h)
		}
	}
	for _, s := range found["closed"].Hops[0].Steps {
		if s.Step != "target" && (!s.OK || s.Detail == "") || s.Took < 0 {
			t.Errorf("a step without a detail: %+v", s)
		}
	}
	if out, err := json.Marshal(doc); err != nil || strings.Contains(string(out), "hunter2") {
		t.Errorf("a secret is printed: %v", err)
	}

	// What a running Caddy says.
	c.start(config)
	for _, tc := range cases {
		if tc.logged == "" {
			continue
		}
		sshtest.Eventually(t, patience, tc.name+": the log has cause "+tc.logged, func() bool {
			return c.logged("connecting failed; will retry", "tunnel:"+tc.name+" ", "cause:"+tc.logged+" ") ||
				c.logged("connecting failed; will retry", "tunnel:"+tc.name+"]", "cause:"+tc.logged+" ")
		})
		// The status and the metric agree.
		var status struct {
			State     string `json:"state"`
			LastError struct {
				Cause string `json:"cause"`
			} `json:"last_error"`
		}
		if err := json.Unmarshal([]byte(c.fromAdmin("/ssh_tunnel/tunnels/"+tc.name)), &status); err != nil ||
			status.State == "up" || status.LastError.Cause != tc.logged {
			t.Errorf("%s: the status has %+v, %v, want %s", tc.name, status, err, tc.logged)
		}
		if !c.counted("connect_failures_total", "cause", tc.logged, tc.name) {
			t.Errorf("%s: no failure is counted with cause %s", tc.name, tc.logged)
		}
	}
	for i, tc := range cases {
		result, refused := map[string]string{
			"powerless": "prohibited", "prohibited": "prohibited", "permitopen": "prohibited", "closed": "connection_refused",
		}[tc.name]
		if !refused {
			continue
		}
		sshtest.Eventually(t, patience, tc.name+": a dial is counted as "+result, func() bool {
			c.get(fmt.Sprintf("/%d", i))
			return c.counted("channel_opens_total", "result", result, tc.name)
		})
	}

	// Do as it says.
	after := func(name, fixed, upstream string) {
		t.Helper()
		doc := newCaddy(t).check(c.caddyfile(fixed, "", fmt.Sprintf("reverse_proxy %s {\ntransport ssh_tunnel %s\n}\n", upstream, name)), name)
		if !doc.OK {
			_, steps := doc.Tunnels[0].failures()
			t.Errorf("%s: after its fix: %+v", name, steps)
		}
	}
	fixOf := func(name string) string {
		_, steps := found[name].failures()
		return steps[0].Fix
	}
	_, hostKey, _ := strings.Cut(fixOf("unknown"), "add to the tunnel: ")
	after("unknown", known("unknown", elsewhere, hostKey), "web.internal:80")
	_, hostKey, _ = strings.Cut(fixOf("changed"), "replace what is expected with: ")
	after("changed", to("changed", "deploy", key, hostKey), "web.internal:80")
	powerful := sign("powerful", "-O", "permit-port-forwarding")
	after("powerless", to("powerless", "deploy", powerful), "web.internal:80")
	renewed := sign("renewed", "-V", "+1d")
	after("expired", to("expired", "deploy", renewed), "web.internal:80")
	b.serveTCP("127.0.0.1:8081", func(*net.TCPConn) {})
	after("closed", b.tunnel("closed"), "web.internal:8081")
}

// TestCheckLearnsNothing: check mentions accept-new, and nothing is remembered.
func TestCheckLearnsNothing(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := newCaddy(t)
	config := c.caddyfile("tunnel prod deploy@"+b.Addr()+" {\nidentity_file "+b.key+"\nstrict_host_key_checking accept-new\n}\n", "", proxied)
	for range 2 {
		doc := c.check(config)
		if !doc.OK || !strings.Contains(fmt.Sprint(doc), "which is new; a running Caddy would learn it") {
			t.Fatalf("%+v", doc)
		}
	}
	out, err := c.configured(config, "ssh-tunnel", "known-hosts").Output()
	if err != nil || string(out) != "no host key was learned\n" {
		t.Errorf("known-hosts: %v: %s", err, out)
	}
}

// TestCheckConfiguration: a tunnel that Caddy does not load is reported as well.
func TestCheckConfiguration(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := newCaddy(t)
	config := c.caddyfile("tunnel prod deploy@"+b.Addr()+" {\nidentity_file "+b.key+"\n}\n"+b.tunnel("other"), "", proxied)
	doc := c.check(config)
	failed, steps := doc.Tunnels[1].failures()
	if !doc.Tunnels[0].OK || strings.Join(failed, ", ") != "prod configuration host_key_unknown" || !strings.Contains(steps[0].Fix, "keyscan --tunnel prod") {
		t.Fatalf("%+v", doc)
	}
	// Which then works, though nothing is known about the bastion.
	out, err := c.configured(config, "ssh-tunnel", "keyscan", "--tunnel", "prod").Output()
	if err != nil || !strings.Contains(string(out), "host_key "+b.HostKey.Fingerprint()) {
		t.Fatalf("keyscan: %v: %s", err, out)
	}
	_, hostKey, _ := strings.Cut(string(out), "#   ")
	hostKey, _, _ = strings.Cut(hostKey, "   (")
	fixed := c.caddyfile("tunnel prod deploy@"+b.Addr()+" {\nidentity_file "+b.key+"\n"+hostKey+"\n}\n", "", proxied)
	if doc := c.check(fixed, "prod", "--target", "web.internal:80", "--target", "echo.internal:80"); !doc.OK {
		t.Errorf("after its fix: %+v", doc)
	}
}
