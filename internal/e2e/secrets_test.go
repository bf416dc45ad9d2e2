//go:build linux

package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ssh"
	"golang.org/x/net/proxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/autokey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// secrets_test.go has every secret that there can be in a configuration, uses it
// with success and without, and looks for it in everything that Caddy says.

// TestSecrets: a secret that stands for a placeholder is nowhere, and one that is
// written out is in the configuration and nowhere else.
func TestSecrets(t *testing.T) {
	t.Parallel()
	all := make(secrets)
	h := &hunt{t: t, all: all, seen: make(map[string]string)}
	placeholder := h.placeholder
	inFile := func(value string) (path string) { return sshtest.WriteFile(t, "secret", []byte(value)) }

	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer upstream.Close()

	// Bastions, each of which wants something else.
	password, passphrase, literalPassword, literalPassphrase := all.add("password"), all.add("passphrase"), all.add("literal password"), all.add("literal passphrase")
	key, agentKey := sshtest.NewKey(), sshtest.NewKey()
	wants := func(options sshtest.BastionOptions) *sshtest.Bastion { return sshtest.NewBastion(t, options) }
	keys := wants(sshtest.BastionOptions{AuthorizedKeys: []ssh.PublicKey{key.PublicKey(), agentKey.PublicKey()}})
	asks := wants(sshtest.BastionOptions{Password: password})
	asksLiteral := wants(sshtest.BastionOptions{Password: literalPassword})
	talks := wants(sshtest.BastionOptions{Password: password, AuthenticationMethods: []string{"keyboard-interactive"}})
	parrot := wants(sshtest.BastionOptions{KeyboardInteractive: parrotDialogue, AuthenticationMethods: []string{"keyboard-interactive"}})
	all["private key"] = strings.TrimSpace(slices.Collect(strings.Lines(string(key.PEM(""))))[3])
	all["key of the agent"] = strings.TrimSpace(slices.Collect(strings.Lines(string(agentKey.PEM(""))))[3])
	refused := sshtest.NewKey()
	all["key that is refused"] = strings.TrimSpace(slices.Collect(strings.Lines(string(refused.PEM(""))))[3])
	lockedText := string(readFile(t, key.EncryptedFile(t, passphrase)))
	all["encrypted key"] = strings.TrimSpace(slices.Collect(strings.Lines(lockedText))[3])
	locked, plain := key.EncryptedFile(t, passphrase), sshtest.WriteFile(t, "plain", key.PEM(""))
	lockedLiterally := key.EncryptedFile(t, literalPassphrase)
	rotated := inFile(passphrase) // later it has another
	agentSocket := serveAgent(t, agentKey)

	// Proxies.
	proxyUser, proxyPassword, literalProxy := "u"+all.add("proxy user"), all.add("proxy password"), all.add("literal proxy password")
	httpProxy, literalHTTPProxy := parrotProxy(t, proxyUser, proxyPassword), parrotProxy(t, "u", literalProxy)
	login := placeholder(proxyUser) + ":" + placeholder(proxyPassword) + "@"
	socksPassword, literalSOCKS := all.add("SOCKS password"), all.add("literal SOCKS password")
	socks := sshtest.NewPort(t)
	upstreamProxy := all.add("literal password of network_proxy")

	// A command that has a secret from the environment, and one that fails.
	commandSecret := all.add("secret of a command")
	h.env = append(h.env, "COMMAND_SECRET="+commandSecret, "CADDY_SSH_TUNNEL_ALLOW_COMMANDS=1")
	connects := sshtest.WriteFile(t, "connects", []byte("test -n \"$COMMAND_SECRET\" || exit 1\nexec 3<>/dev/tcp/$1/$2\ncat <&3 &\ncat >&3\n"))
	quoted := func(value string) string { return "`" + value + "`" }

	wrong := placeholder(all.add("wrong password"))
	tunnels, names := "", []string{}
	add := func(name string, to *sshtest.Bastion, options ...string) {
		if !strings.Contains(strings.Join(options, "\n"), "host_key") {
			options = append(options, "host_key "+to.HostKeyFingerprint())
		}
		tunnels += fmt.Sprintf("tunnel %s u@%s {\n%s\nreconnect_delay 50ms 200ms\n}\n", name, to.Addr(), strings.Join(options, "\n"))
		names = append(names, name)
	}
	good := func(name string, to *sshtest.Bastion, options ...string) { add("good-"+name, to, options...) }
	bad := func(name string, to *sshtest.Bastion, options ...string) { add("bad-"+name, to, options...) }
	good("password", asks, "password "+placeholder(password),
		fmt.Sprintf("dynamic_forward %d {\nuser u %s\nuser l %s\n}", socks, placeholder(socksPassword), quoted(literalSOCKS)))
	good("literal", asksLiteral, "password "+quoted(literalPassword))
	good("dialogue", talks, "password {file."+inFile(password)+"}")
	good("passphrase", keys, "identity_file "+locked+" "+placeholder(passphrase))
	good("literal-passphrase", keys, "identity_file "+lockedLiterally+" "+quoted(literalPassphrase))
	good("key", keys, "identity_file "+plain)
	good("text", keys, "identity "+placeholder(string(key.PEM("")))+"\nidentity "+placeholder(base64.StdEncoding.EncodeToString(agentKey.PEM(""))))
	good("locked-text", keys, "identity "+placeholder(strings.ReplaceAll(lockedText, "\n", `\n`))+" "+placeholder(passphrase))
	good("text-in-file", keys, "identity {file."+plain+"}")
	good("auto", keys, "identity auto", "identity_file "+plain)
	bad("text", keys, "identity "+placeholder(string(refused.PEM(""))))
	bad("auto", keys, "identity auto")
	good("agent", keys, "identity_agent "+agentSocket)
	good("rotated", keys, "identity_file "+locked+" {file."+rotated+"}")
	good("http", keys, "identity_file "+plain, "proxy http://"+login+httpProxy)
	good("literal-http", keys, "identity_file "+plain, "proxy http://"+url.UserPassword("u", literalProxy).String()+"@"+literalHTTPProxy)
	good("socks", keys, "identity_file "+plain, fmt.Sprintf("proxy socks5://u:%s@127.0.0.1:%d", placeholder(socksPassword), socks))
	good("command", keys, "identity_file "+plain, "proxy_command bash "+connects+" %h %p")
	bad("password", asks, "password "+wrong)
	bad("dialogue", talks, "password "+wrong)
	bad("parrot", parrot, "password "+placeholder(password))
	bad("host-key", asks, "password "+placeholder(password), "host_key "+sshtest.NewKey().Fingerprint())
	bad("http", keys, "identity_file "+plain, "proxy http://u:"+wrong+"@"+httpProxy)
	bad("socks", keys, "identity_file "+plain, fmt.Sprintf("proxy socks5://u:%s@127.0.0.1:%d", wrong, socks))
	bad("command", keys, "identity_file "+plain, "proxy_command bash -c `exit 3` "+connects)

	site := ""
	for _, name := range names {
		site += fmt.Sprintf("handle /%s {\nreverse_proxy %s {\ntransport ssh_tunnel %s\n}\n}\n", name, upstream.Listener.Addr(), name)
	}
	site += fmt.Sprintf("handle /network_proxy {\nreverse_proxy %s {\ntransport ssh_tunnel good-key {\nnetwork_proxy url http://%s@%s\n}\n}\n}\n",
		upstream.Listener.Addr(), url.UserPassword("u", upstreamProxy), httpProxy)
	site += "ssh_tunnel_status /status_page\nssh_tunnel_ready /ready\n"
	config := func(c *caddy) string { return c.caddyfile(tunnels, "metrics\nevents {\n}\n", site) }
	c := startCaddy(t, config, h.env...)
	h.c = c

	for _, name := range append(names, "network_proxy") {
		want := http.StatusOK
		if !strings.HasPrefix(name, "good-") {
			want = http.StatusServiceUnavailable
		}
		sshtest.Eventually(t, 3*patience, name+" has come up, or not", func() bool {
			a := c.get("/" + name)
			h.seen["an answer"] += fmt.Sprintf("%v%v%s", a.err, a.header, a.body)
			if name == "network_proxy" {
				return a.status == http.StatusProxyAuthRequired // in the proxy's words
			}
			return a.status == want && (want != http.StatusOK || a.body == "hello")
		})
	}
	clientOf := func(name, password string) error {
		d, err := proxy.SOCKS5("tcp", local(socks), &proxy.Auth{User: name, Password: password}, proxy.Direct)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := d.Dial("tcp", upstream.Listener.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	if err := clientOf("l", literalSOCKS); err != nil {
		t.Error(err)
	}
	if err := clientOf("u", all.add("wrong SOCKS password")); err == nil {
		t.Error("a wrong SOCKS password is taken")
	}
	sshtest.Eventually(t, patience, "the wrong SOCKS password is logged", func() bool { return c.logged("SOCKS greeting", "wrong user or password") })

	// The passphrase is another one for a while.
	rotate := func(passphrase string) {
		if err := os.WriteFile(rotated, []byte(passphrase), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotate(all.add("wrong passphrase"))
	c.post("/ssh_tunnel/tunnels/good-rotated/reconnect")
	sshtest.Eventually(t, patience, "the wrong passphrase is logged", func() bool { return c.logged("good-rotated", "its passphrase is wrong") })
	if err := c.load(config(c)); err == nil || !strings.Contains(err.Error(), "its passphrase is wrong") {
		t.Errorf("with a wrong passphrase: %v", err)
	} else {
		h.seen["a load's error"] = err.Error()
	}
	rotate(passphrase)

	for what, cause := range map[string]failure.Cause{
		"bad-password": failure.CausePasswordRefused, "bad-text": failure.CauseKeyRefused, "bad-auto": failure.CauseKeyRefused, "bad-dialogue": failure.CausePasswordRefused, "bad-host-key": failure.CauseHostKeyMismatch,
		"bad-http": failure.CauseProxy, "bad-socks": failure.CauseProxy,
	} {
		if s := c.status(what); s.LastError == nil || s.LastError.Cause != cause {
			t.Errorf("%s: got %+v", what, s.LastError)
		}
	}
	if !c.logged("ssh_tunnel_connected", "good-password") || !c.logged("ssh_tunnel_refused", "bad-password") {
		t.Error("the log does not have the events")
	}

	generated, err := autokey.Storage{Storage: &certmagic.FileStorage{Path: c.home + "/data/caddy"}}.Load(t.Context(), "bad-auto")
	if err != nil {
		t.Fatal(err)
	}
	all["generated key"] = strings.TrimSpace(slices.Collect(strings.Lines(generated.Current.PrivateKey))[3])
	h.askAdmin(names)
	h.seen["the status page"], h.seen["ssh_tunnel_ready"] = c.get("/status_page").body, c.get("/ready").body
	h.runCommands(config(c))
	h.loadWrongly(tunnels, site)
	c.reload(config(c))
	h.lookAtProcesses()
	h.judge("literal password", "literal passphrase", "literal proxy password", "literal SOCKS password", "literal password of network_proxy")
	for _, what := range []string{"password", "passphrase of identity_file", "password of proxy", "password of dynamic_forward's user"} {
		if !c.logged(what, "is written literally and shows in the configuration") {
			t.Errorf("there is no warning of a literal %s", what)
		}
	}
}

// hunt is a search for secrets.
type hunt struct {
	t    *testing.T
	c    *caddy
	all  secrets
	env  []string          // Caddy's, with those of all that have placeholders
	seen map[string]string // what Caddy has said, by where
}

// placeholder returns one for a value.
func (h *hunt) placeholder(value string) string {
	name := fmt.Sprintf("SECRET_%d", len(h.env))
	h.env = append(h.env, name+"="+value)
	return "{env." + name + "}"
}

// askAdmin asks all that the admin API has to say about tunnels.
func (h *hunt) askAdmin(tunnels []string) {
	h.t.Helper()
	paths := []string{
		"/ssh_tunnel/tunnels", "/ssh_tunnel/ready", "/ssh_tunnel/nothing", "/ssh_tunnel/tunnels/nobody", "/reverse_proxy/upstreams",
		"/metrics", "/debug/vars", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2",
	}
	for _, name := range tunnels {
		paths = append(paths, "/ssh_tunnel/tunnels/"+name)
	}
	for _, path := range paths {
		h.seen[path] = h.c.fromAdmin(path)
	}
	for _, name := range tunnels {
		_, h.seen["/reconnect of "+name] = h.c.post("/ssh_tunnel/tunnels/" + name + "/reconnect")
	}
}

// runCommands runs all commands that look at a configuration, or at Caddy.
func (h *hunt) runCommands(config string) {
	h.t.Helper()
	file := h.c.home + "/Caddyfile"
	for _, args := range [][]string{
		{"status"},
		{"status", "--json"},
		{"check", "--config", file},
		{"check", "--config", file, "--json"},
		{"reconnect", "bad-password"},
		{"keyscan", "--config", file, "--tunnel", "good-http"},
		{"keyscan", "--config", file, "--tunnel", "bad-http"},
		{"known-hosts", "--config", file},
	} {
		stdout, stderr, _ := h.c.ssh(args...)
		h.seen["caddy ssh-tunnel "+strings.Join(args, " ")] = stdout + stderr
	}
	for _, command := range []string{"adapt", "validate"} {
		out, err := h.c.configured(config, command).CombinedOutput()
		if h.seen[command] = string(out); err != nil {
			h.t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
}

// loadWrongly has a secret where none belongs, or where it is written wrong.
func (h *hunt) loadWrongly(tunnels, site string) {
	h.t.Helper()
	secret := h.all.add("misplaced secret")
	file := sshtest.WriteFile(h.t, "secret", []byte(secret))
	for _, line := range []string{
		"password `" + secret + "` more", "password `{" + secret + "}`", "lazy\n`" + secret + "`", "host deploy:" + secret + "@b",
		"proxy `socks5://u:" + secret + ":1`", "proxy `u:" + secret + "@http://p:1`", "proxy_command connect `" + secret + "%`",
		"dynamic_forward 1080 {\nuser u `" + secret + "` more\n}", "identity_file " + file, "identity `" + secret + "`", "identity {file." + file + "}", "identity auto `" + secret + "`", "certificate {file." + file + "}", "ssh_config x " + file, "certificate_file " + file + "\nknown_hosts " + file,
	} {
		config := h.c.caddyfile(tunnels+"tunnel wrong {\n"+line+"\n}\n", "", site)
		err := h.c.load(config)
		out, _ := h.c.configured(config, "validate").CombinedOutput()
		if err == nil {
			h.t.Errorf("%q is loaded", line)
			continue
		}
		h.seen["the error of "+strings.Fields(line)[0]] += err.Error() + string(out)
	}
}

// lookAtProcesses looks at Caddy and the commands that it runs. These have what
// Caddy's own environment has, which other users cannot read, and no more.
func (h *hunt) lookAtProcesses() {
	h.t.Helper()
	caddy := h.c.cmd.Process.Pid
	sshtest.Eventually(h.t, patience, "a command runs", func() bool { return len(descendants(h.t, caddy)) > 0 })
	for _, pid := range append(descendants(h.t, caddy), caddy) {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may have ended
		h.seen["a process's arguments"] += string(cmdline)
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			if !slices.Contains(h.c.cmd.Env, variable) {
				h.seen["a process's environment"] += variable + "\n"
			}
		}
	}
}

// judge fails the test if a secret was seen, those that are written literally in
// the configuration excepted.
func (h *hunt) judge(literals ...string) {
	h.t.Helper()
	written := map[string]string{"/config/": h.c.fromAdmin("/config/"), "autosave.json": string(readFile(h.t, h.c.autosave())), "adapt": h.seen["adapt"]}
	delete(h.seen, "adapt")
	for where, text := range written {
		for _, found := range h.all.except(literals...).in(text) {
			h.t.Errorf("%s has the %s", where, found)
		}
		for _, variable := range h.env {
			name, _, _ := strings.Cut(variable, "=")
			if strings.HasPrefix(name, "SECRET_") && !strings.Contains(text, "{env."+name+"}") {
				h.t.Errorf("%s does not have the placeholder {env.%s}", where, name)
			}
		}
		if !strings.Contains(text, "literal_password") {
			h.t.Errorf("%s does not have what was written literally", where)
		}
	}
	h.seen["the log"] = h.c.log()
	for where, text := range h.seen {
		for _, found := range h.all.in(text) {
			h.t.Errorf("%s has the %s", where, found)
		}
		if text == "" && where != "a process's environment" {
			h.t.Errorf("%s has nothing", where)
		}
	}
}
